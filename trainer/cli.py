"""`thinkdial train`: run a recipe."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Entry point of `thinkdial train`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="thinkdial train", description="Make a fused checkpoint.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a recipe, or resume it")
    run.add_argument("recipe", type=Path, help="TOML file, such as trainer/recipes/tiny.toml")
    run.add_argument(
        "--out", type=Path, help="folder of checkpoints and metrics; default runs/<recipe's name>"
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a value of the recipe, as in stages.fusion.tokens=100000",
    )
    options = parser.parse_args(argv)
    if not options.recipe.is_file():
        parser.error(f"recipe is {str(options.recipe)!r}; expected a TOML file")

    from trainer.recipe import load_recipe

    try:
        recipe = load_recipe(options.recipe, options.overrides)
    except ValueError as error:
        parser.error(str(error))

    from trainer.run import run_recipe

    out = options.out or Path("runs") / options.recipe.stem
    try:
        checkpoint = run_recipe(recipe, out)
    except KeyboardInterrupt:
        print(f"stopped; the same command resumes from the last checkpoint in {out}", file=sys.stderr)
        return 130
    print(f"checkpoint: {checkpoint}")
    return 0
