"""`thinkdial eval profile`: write a run's thinking profile, to be kept beside its checkpoint."""

import argparse
import sys
from pathlib import Path

from evals.commands.command import FAILED, WRONG_USAGE, fail


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "profile",
        help="write thinking_profile.json: curve and recommended budgets of a checkpoint",
        description="Write the thinking profile of the model that a run measured: its curve with intervals, "
        "how long it thinks by itself, and budgets for low, medium and high effort. It goes into the "
        "checkpoint's folder with --checkpoint, else into the run directory.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="run directory")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="the measured model's folder, identified by its hash"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write instead")
    parser.add_argument(
        "--grader",
        choices=("thinkdial", "math-verify", "exact", "upstream"),
        default="thinkdial",
        help="who grades the run (thinkdial)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the profile and print what it recommends."""
    from evals.profile import write_profile

    try:
        path, made = write_profile(options.directory, options.out, options.checkpoint, options.grader)
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}", FAILED)
    if options.checkpoint is None:
        print(
            "warning: without --checkpoint the profile does not say which weights were measured",
            file=sys.stderr,
        )
    for name, row in made["recommended"].items():
        print(
            f"{name:>8}: budget {row['budget']} (95 %: {row['at_least']} to {row['at_most']}), "
            f"accuracy {100 * row['accuracy']:.1f} %"
        )
    print(f"rule: {made['rule']}\nprofile: {path}")
    return 0
