"""Training runs in processes of their own, which have the imports done, and meet a fault at a chosen moment.

A moment is an audit event of Python (os.mkdir, os.rename, open, shutil.rmtree) on a path: it comes before
what it announces is done.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.trainer.micro_models import MICRO_RECIPE

RECIPE = (
    MICRO_RECIPE
    + """
[[stages]]
kind = "cold_start"
tokens = 1200
batch_tokens = 300
checkpoint_every = 1
optimizer = { adamw_lr = 1e-3 }

[[stages]]
kind = "reasoning_rl"
steps = 3
prompts_per_step = 2
group_size = 2
checkpoint_every = 1
evaluate_every = 1
held_out_problems = 2
optimizer = { adamw_lr = 1e-3 }
rollouts = { backend = "transformers", max_tokens = 48, answer_tokens = 12 }
"""
)

Fault = Callable[[Path], None]
"""What happens at the moment; it is told the run's folder."""


def kill(out: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(recipe: Path, out: Path, moment: tuple[str, str] | None = None, fault: Fault = kill) -> int:
    """Run the recipe in a process; returns its exit code, and leaves what it said beside the recipe.

    moment: the event, and how its path ends (a text without its random parts), at which `fault` comes, once.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainer.run", "trainer.sft", "trainer.rl"])
    process = context.Process(target=_main, args=(recipe, out, _log(recipe), moment, fault))
    process.start()
    process.join(300)
    assert process.exitcode is not None
    return process.exitcode


def said(recipe: Path) -> str:
    """What the last run of a recipe has written to the terminal."""
    return _log(recipe).read_text("utf-8")


def _log(recipe: Path) -> Path:
    return recipe.with_suffix(".log")


def _main(recipe: Path, out: Path, log: Path, moment: tuple[str, str] | None, fault: Fault) -> None:
    terminal = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(terminal, 1)
    os.dup2(terminal, 2)
    done = False

    def watch(event: str, args: tuple[Any, ...]) -> None:
        nonlocal done
        if moment is not None and not done and event == moment[0] and str(args[0]).endswith(moment[1]):
            done = True
            fault(out)

    from trainer.cli import main

    sys.addaudithook(watch)
    sys.exit(main(["run", str(recipe), "--out", str(out)]))
