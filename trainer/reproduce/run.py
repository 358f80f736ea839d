"""Run a chain of commands once each: what is done is skipped, a stopped one goes on, a failed one ends it.

`steps/NAME/` of a reproduction holds `seconds`, over all attempts, and, when the step is done, `done.json`.
"""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evals.wording import clock
from serve.processes import end_with_parent
from trainer.clock import clocked, read_seconds, repeated
from trainer.reproduce.steps import Step, time_left

DONE = "done.json"
TOLD_EVERY = 60.0
"""Seconds between lines on the time that is left."""
PROGRAMS = {"thinkdial": (sys.executable, "-m", "clients.cli"), "python": (sys.executable,)}
"""How the first word of a command is started: by this interpreter, whatever the PATH says."""
Tell = Callable[[str], None]


class StepError(RuntimeError):
    """A step failed. status: the exit status of its command."""

    def __init__(self, step: Step, status: int) -> None:
        super().__init__(
            f"step {step.name} failed with exit status {status}:\n  {step.line}\n"
            "what is done is kept; make reproduce goes on from here"
        )
        self.status = status


def run_steps(steps: Sequence[Step], folder: Path, tell: Tell) -> dict[str, float]:
    """Run what is not done yet; returns the seconds that each step took, by name.

    folder: where the chain's state lies. tell: is given a line on progress now and then.
    Raises StepError where a command fails, ValueError where a step is to be done again although later ones
    were made from its result.
    """
    first = first_to_do(steps, folder)
    took = {step.name: read_seconds(folder / step.name) for step in steps[:first]}
    for place, step in enumerate(steps[:first], start=1):
        tell(f"{place}/{len(steps)} {step.name}: done before, in {clock(took[step.name])}")
    for place, step in enumerate(steps[first:], start=first + 1):
        tell(f"{place}/{len(steps)} {step.name}: {step.line}")
        mine = folder / step.name
        mine.mkdir(parents=True, exist_ok=True)
        with clocked(mine), _telling(steps, took, step, read_seconds(mine), tell):
            status = execute(step.line)
        if status:
            raise StepError(step, status)
        if not step.makes.is_file():
            raise RuntimeError(f"step {step.name} ended well and left no {step.makes}: {step.line}")
        (mine / DONE).write_text(json.dumps({"command": step.line}) + "\n", "utf-8")
        took[step.name] = read_seconds(mine)
    return took


def first_to_do(steps: Sequence[Step], folder: Path) -> int:
    """How many steps from the first on are done. ValueError where a later one than that has begun."""
    done = [_is_done(step, folder) for step in steps]
    first = done.index(False) if False in done else len(steps)
    later = [step.name for step in steps[first + 1 :] if (folder / step.name).exists()]
    if later:
        raise ValueError(
            f"{folder.parent}: {steps[first].name} is not done, or was done by another command, and "
            f"{', '.join(later)} came from it; give another --out, or remove that folder"
        )
    return first


def execute(line: str) -> int:
    """Run a command to its end and return its exit status. An interrupt ends it first, as it wants to end."""
    program, *words = shlex.split(line)
    # A session of its own, so that an interrupt at the terminal reaches it once: from here.
    process = subprocess.Popen(
        [*PROGRAMS[program], *words],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        preexec_fn=end_with_parent if sys.platform == "linux" else None,
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise


def _is_done(step: Step, folder: Path) -> bool:
    path = folder / step.name / DONE
    return (
        path.is_file()
        and step.makes.is_file()
        and json.loads(path.read_text("utf-8")) == {"command": step.line}
    )


@contextmanager
def _telling(
    steps: Sequence[Step], took: dict[str, float], step: Step, before: float, tell: Tell
) -> Iterator[None]:
    """Tell now and then how long a step has run, and when the chain will have ended."""
    started = time.monotonic()

    def tell_once() -> None:
        elapsed = before + time.monotonic() - started
        left = time_left(steps, took, step.name, elapsed)
        tell(f"{step.name} has run {clock(elapsed)}; about {clock(left)} left in all")

    tell_once()
    with repeated(tell_once, TOLD_EVERY):
        yield
