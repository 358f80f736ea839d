"""`thinkdial train study`: train the arms of a recipe with several seeds, and say which of them help."""

import argparse
from pathlib import Path

from trainer.commands.command import WRONG_USAGE, end_in_report, fail
from trainer.commands.recipes import add_recipe, read_recipe, run_folder

_EXAMPLE = """example:
  thinkdial train study trainer/recipes/budget_study.toml --seeds 0 1 2 --out runs/budget_study
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "study",
        help="train variants of a stage with several seeds, and compare them",
        description="The arms are the stages of the recipe that no other begins with; all begin with the "
        "same checkpoint, and the first is the baseline. Each is trained once for every seed and measured on "
        "the same problems. Writes study.json, study.md and study.png. The same command again goes on where "
        "it was stopped.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_recipe(parser)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED", help="of every arm (0 1 2)"
    )
    parser.add_argument(
        "--worthwhile",
        type=float,
        default=2.0,
        metavar="POINTS",
        help="the smallest difference in accuracy worth having, in points (2)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (runs/<recipe's name>)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, measure, and print the verdict."""
    from trainer.study.run import MARKDOWN, run_study

    if not 0 <= options.worthwhile < 100:
        return fail(f"--worthwhile: {options.worthwhile} points; give 0 to 100", WRONG_USAGE)
    out = run_folder(options)
    return end_in_report(
        lambda: run_study(read_recipe(options), options.seeds, out, options.worthwhile / 100) / MARKDOWN
    )
