"""The picture in docs/architecture.md against the imports as they are."""

import re
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
ROOMS = {"clients", "serve", "evals", "trainer"}
TEXT = (ROOT / "docs" / "architecture.md").read_text("utf-8")
DIAGRAM = TEXT.split("```mermaid")[1].split("```")[0]


def test_the_arrows_are_the_imports_between_rooms() -> None:
    graph = grimp.build_graph(*sorted(ROOMS), exclude_type_checking_imports=False)
    imports = {
        (importer.partition(".")[0], imported.partition(".")[0])
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    }
    arrows = re.findall(r"^\s*(\w+) --> (\w+)$", DIAGRAM, re.MULTILINE)
    assert sorted(arrows) == sorted((a, b) for a, b in imports if a != b)
    assert DIAGRAM.count("-->") == len(arrows)


def test_the_boxes_are_the_rooms() -> None:
    assert set(re.findall(r"^\s*(\w+)\[", DIAGRAM, re.MULTILINE)) == ROOMS
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == ROOMS


def test_the_files_that_are_named_exist() -> None:
    """Each section is of the room that its title names."""
    for section in TEXT.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        if room := re.search(r"through `(\w+)`", title):
            names = re.findall(r"`((?:\w+/)?\w+\.py|\w+/)`", body)
            assert names
            missing = [name for name in names if not (ROOT / room[1] / name).exists()]
            assert not missing, f"{room[1]}: {missing}"
