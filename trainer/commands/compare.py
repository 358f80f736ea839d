"""`thinkdial train compare`: train recipes from one start with several seeds, and compare what they leave."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.commands.command import end_in_report
from trainer.commands.measuring import add_measuring, measuring

if TYPE_CHECKING:
    from trainer.compare.run import Comparison

_EXAMPLE = """example:
  thinkdial train compare trainer/recipes/methods/{grpo,dr-grpo,dpo}.toml --seeds 0 1 2 --out runs/methods
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "compare",
        help="train recipes from one start with several seeds, and compare what they leave",
        description="Each recipe is trained once for every seed, and its last stage measured: accuracy with "
        "thinking, without and over budgets, length, entropy, calibration, KL to the start, tokens and time. "
        "Recipes that begin with other weights are refused, and so are those that train on other problems or "
        "may sample more tokens, without --uneven. Writes comparison.json, comparison.md and comparison.png. "
        "The same command again goes on where it was stopped.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipes", type=Path, nargs="+", metavar="RECIPE", help="TOML files, two or more")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a value of every recipe, as in stages.0.steps=20 (repeat for more)",
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED", help="of every recipe (0 1 2)"
    )
    parser.add_argument(
        "--uneven",
        action="store_true",
        help="compare recipes whose problems or rollout tokens differ, and tell the differences",
    )
    add_measuring(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/compare"), metavar="DIR", help="(runs/compare)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, measure, and print the tables."""
    from trainer.compare.run import MARKDOWN, run_comparison

    return end_in_report(lambda: run_comparison(_asked(options), options.out) / MARKDOWN)


def _asked(options: argparse.Namespace) -> "Comparison":
    """What to compare, and how. Raises ValueError naming what is wrong."""
    from trainer.compare.methods import common_settings, methods_of
    from trainer.compare.run import Comparison
    from trainer.recipe import load_recipe

    methods = methods_of({path: load_recipe(path, options.overrides) for path in options.recipes})
    settings = measuring(options, common_settings(methods))
    return Comparison(methods, options.seeds, settings, options.uneven)
