"""The page of licences is that of the dependencies in pyproject.toml."""

import re
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
RESTRICTED = re.compile(r"\b(A?GPL|SSPL|BUSL|proprietary|see its files)", re.I)


@pytest.fixture(scope="module")
def licences() -> ModuleType:
    spec = spec_from_file_location("licences", ROOT / "docs" / "licences.py")
    assert spec is not None
    assert spec.loader is not None
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_it_has_every_direct_dependency(licences: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    rows = re.findall(r"^\| (\S+) \| (.+?) \| (.+?) \|$", licences.PAGE.read_text("utf-8"), re.M)[1:]
    told = {package: extras.split(", ") for package, extras, _ in rows}
    assert told == licences.dependencies(project), "run python docs/licences.py"
    for package, _, licence in rows:
        assert not RESTRICTED.search(licence), f"{package}: {licence}"


def test_names_of_requirements(licences: ModuleType) -> None:
    asked = ["a[x,y]>=1,<2", "b==1", "c; python_version > '3'", "thinkdial[evals]", "d~=1"]
    project = {"dependencies": asked, "optional-dependencies": {"more": ["b", "e"]}}
    found = licences.dependencies(project)
    assert found == {**{name: ["thinkdial"] for name in "acd"}, "b": ["thinkdial", "more"], "e": ["more"]}
