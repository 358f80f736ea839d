"""The command behind `make reproduce`."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from evals.commands.command import FAILED, INTERRUPTED, WRONG_USAGE, termination_interrupts
from trainer.reproduce.run import StepError, run_steps
from trainer.reproduce.steps import Folders, plan


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done of the chain, then write its page; returns 0, 1 (failed), 2 (misused) or 130."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.reproduce",
        description="Train, measure, profile, serve and load a model, and put every number on one page. The "
        "same command again goes on where it was stopped.",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/reproduce"), metavar="DIR", help="where (runs/reproduce)"
    )
    parser.add_argument(
        "--recipe",
        type=Path,
        default=Path("trainer/recipes/quick.toml"),
        metavar="FILE",
        help="what to train (trainer/recipes/quick.toml)",
    )
    parser.add_argument(
        "--problems", type=int, default=300, metavar="N", help="held-out ones of the curve (300)"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=_default_processes(),
        metavar="N",
        help="that train together, each with one thread where there are several (%(default)s)",
    )
    parser.add_argument("--plan", action="store_true", help="print the commands and run none")
    options = parser.parse_args(argv)
    at = Folders(options.out)
    try:
        steps = plan(at.out, options.recipe, options.problems, options.processes)
        if options.plan:
            print("\n".join(step.line for step in steps))
            return 0
        with termination_interrupts():
            took = run_steps(steps, at.steps, _tell)
        # Imported here: while the commands run, nobody needs torch and matplotlib in this process.
        from trainer.reproduce.page import write_page

        print(f"page: {write_page(at, steps, took)}")
    except ValueError as error:
        return _fail(str(error), WRONG_USAGE)
    except FileNotFoundError as error:
        return _fail(f"{error.filename}: there is no such file", WRONG_USAGE)
    except StepError as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt:
        return _fail("stopped; the same command goes on where it was", INTERRUPTED)
    return 0


def _default_processes() -> int:
    """2 where a CPU of several cores trains; 1 where a GPU does."""
    return 1 if shutil.which("nvidia-smi") else min(2, os.cpu_count() or 1)


def _tell(line: str) -> None:
    print(f"reproduce: {line}", file=sys.stderr, flush=True)


def _fail(message: str, status: int) -> int:
    print(f"reproduce: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
