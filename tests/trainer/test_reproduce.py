"""`make reproduce`: the plan is public commands, and a chain that is stopped anywhere goes on."""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.reproduce.run import PROGRAMS, StepError, run_steps
from trainer.reproduce.steps import Step, plan, time_left

ROOT = Path(__file__).parents[2]
QUICK = ROOT / "trainer" / "recipes" / "quick.toml"


def python(code: str) -> str:
    return shlex.join(["python", "-c", code])


def step(folder: Path, name: str, code: str = "") -> Step:
    """A step that notes that it ran, then does what `code` says, then leaves its file."""
    makes = folder / f"{name}.txt"
    lines = [
        "import sys, pathlib",
        f"open({str(folder / 'ran')!r}, 'a').write({name + ' '!r})",
        code,
        f"pathlib.Path({str(makes)!r}).write_text('made')",
    ]
    return Step(name, python("\n".join(lines)), makes, 10)


def ran(folder: Path) -> list[str]:
    return (folder / "ran").read_text().split()


def silent(line: str) -> None:
    pass


def test_the_plan_is_public_commands_whose_options_exist(tmp_path: Path) -> None:
    lines = [step.line for step in plan(tmp_path, QUICK, 300)]
    launched = plan(tmp_path, QUICK, 300, processes=2)[0].line
    launcher, trainer = launched.split(" -m trainer.cli ")
    for line in (*lines, launcher, f"python -m trainer.cli {trainer}"):
        program, *words = shlex.split(line)
        command = words[: 3 if "trainer.cli" in words else 2]
        told = [*PROGRAMS[program], *command, "--help"]
        shown = subprocess.run(told, capture_output=True, text=True, check=True, cwd=ROOT).stdout
        unknown = [word for word in words if word.startswith("--") and word not in shown]
        assert not unknown, line


def test_training_needs_a_process(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--processes: 0 is wrong"):
        plan(tmp_path, QUICK, 300, processes=0)


def test_it_fits_into_45_minutes(tmp_path: Path) -> None:
    assert sum(step.seconds for step in plan(tmp_path, QUICK, 300)) < 45 * 60


def test_a_chain_runs_once(tmp_path: Path) -> None:
    steps = [step(tmp_path, name) for name in ("a", "b", "c")]
    told: list[str] = []
    took = run_steps(steps, tmp_path / "steps", told.append)
    assert list(took) == ["a", "b", "c"]
    assert run_steps(steps, tmp_path / "steps", told.append).keys() == took.keys()
    assert ran(tmp_path) == ["a", "b", "c"]
    assert [line for line in told if "done before" in line and line.startswith("2/3 b")]
    assert [line for line in told if "left in all" in line]


def test_a_failed_step_ends_it_and_is_named(tmp_path: Path) -> None:
    steps = [step(tmp_path, "a"), step(tmp_path, "b", "sys.exit(3)"), step(tmp_path, "c")]
    with pytest.raises(StepError, match=r"step b failed with exit status 3:\n  python -c") as failed:
        run_steps(steps, tmp_path / "steps", silent)
    assert failed.value.status == 3
    mended = [steps[0], step(tmp_path, "b"), steps[2]]
    run_steps(mended, tmp_path / "steps", silent)
    assert ran(tmp_path) == ["a", "b", "b", "c"]


def test_a_step_that_leaves_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="step a ended well and left no"):
        run_steps([Step("a", python(""), tmp_path / "a", 1)], tmp_path / "steps", silent)


def test_what_later_steps_were_made_from_is_not_made_again(tmp_path: Path) -> None:
    steps = [step(tmp_path, name) for name in ("a", "b")]
    run_steps(steps, tmp_path / "steps", silent)
    with pytest.raises(ValueError, match="a is not done, or was done by another command, and b came from it"):
        run_steps([step(tmp_path, "a", "pass"), steps[1]], tmp_path / "steps", silent)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(ValueError, match="b came from it"):
        run_steps(steps, tmp_path / "steps", silent)
    assert ran(tmp_path) == ["a", "b"]


CHAIN = """
import shlex, sys
from pathlib import Path
from evals.commands.command import termination_interrupts
from trainer.reproduce.run import run_steps
from trainer.reproduce.steps import Step

folder = Path(sys.argv[1])
code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(float(sys.argv[2]))"
line = lambda name, seconds: shlex.join(["python", "-c", code, str(folder / name), seconds])
steps = [Step(name, line(name, seconds), folder / name, 1) for name, seconds in (("a", "0"), ("b", "60"))]
with termination_interrupts():
    run_steps(steps, folder / "steps", lambda told: None)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_chain_stops_its_command(tmp_path: Path, how: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", CHAIN, str(tmp_path)], cwd=ROOT)
    second = tmp_path / "b"
    wait_for(lambda: second.is_file() and second.read_text() != "")
    child = Path("/proc") / second.read_text()
    process.send_signal(how)
    assert process.wait(20) != 0
    wait_for(lambda: not child.exists())
    assert (tmp_path / "steps" / "a" / "done.json").is_file()
    assert not (tmp_path / "steps" / "b" / "done.json").exists()


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_time_left_follows_the_pace_so_far(tmp_path: Path) -> None:
    steps = [Step(name, "python", tmp_path, seconds) for name, seconds in (("a", 10), ("b", 20), ("c", 5))]
    assert time_left(steps, {}, "a", 4) == 31
    assert time_left(steps, {"a": 20}, "b", 10) == 40
    assert time_left(steps, {"a": 10}, "b", 100) == 5
