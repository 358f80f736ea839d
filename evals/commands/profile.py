"""`thinkdial eval profile`: write a run's thinking profile, to be kept beside its checkpoint."""

import argparse
import sys
from pathlib import Path

from evals.commands.command import FAILED, WRONG_USAGE, fail
from evals.levels import SHARES, LevelRule


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "profile",
        help="write thinking_profile.json: curve and recommended budgets of a checkpoint",
        description="Write the thinking profile of the model that a run measured: its curve with intervals, "
        "how long it thinks by itself, and a budget for each level of effort. It goes into the "
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
    parser.add_argument(
        "--shares",
        type=_shares,
        default={},
        metavar="LEVEL=SHARE,...",
        help=f"what levels promise ({','.join(f'{level}={share:g}' for level, share in SHARES.items())}); "
        "those not named keep theirs",
    )
    parser.add_argument(
        "--share-of",
        choices=("peak", "gain"),
        default="peak",
        help="of what: the peak accuracy, or its gain over no thinking (peak)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the profile and print what it recommends."""
    from evals.profile import write_profile

    try:
        rule = LevelRule(options.shares, options.share_of)
        path, made = write_profile(options.directory, options.out, options.checkpoint, options.grader, rule)
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}", FAILED)
    if options.checkpoint is None:
        print(
            "warning: without --checkpoint the profile does not say which weights were measured",
            file=sys.stderr,
        )
    for level, row in made["recommended"].items():
        within = "" if row["share"] is None else f" (95 %: {row['at_least']} to {row['at_most']})"
        known = "" if row["accuracy"] is None else f", accuracy {100 * row['accuracy']:.1f} %"
        print(f"{level:>8}: budget {row['budget']}{within}{known}")
    families = f"; families: {', '.join(made['families'])}" if made["families"] else ""
    print(f"rule: {made['rule']}\nprofile: {path}{families}")
    return 0


def _shares(text: str) -> dict[str, float]:
    """`low=0.9,high=0.99` as numbers by level."""
    shares: dict[str, float] = {}
    for item in text.split(","):
        level, _, share = item.partition("=")
        try:
            shares[level.strip()] = float(share)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{item!r} is wrong; it must be a level and its share, such as low=0.9"
            ) from None
    return shares
