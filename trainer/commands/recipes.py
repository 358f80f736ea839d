"""How commands are given a recipe and changes to it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.recipe import Recipe


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Declare RECIPE and --set."""
    parser.add_argument(
        "recipe",
        type=Path,
        metavar="RECIPE",
        help="TOML file, or the name of a shipped recipe, as tiny",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a value of the recipe, as in stages.fusion.tokens=100000 (repeat for more)",
    )


def add_run_folder(parser: argparse.ArgumentParser) -> None:
    """Declare --out."""
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of checkpoints and metrics (runs/<recipe's name>)",
    )


def read_recipe(options: argparse.Namespace) -> "Recipe":
    """The recipe with its changes. Raises ValueError for anything wrong, naming it."""
    from trainer.recipe import load_recipe

    return load_recipe(options.recipe, options.overrides)


def run_folder(options: argparse.Namespace) -> Path:
    """The run's folder: --out, else runs/<recipe's name>."""
    out: Path = options.out or Path("runs") / options.recipe.name.removesuffix(".toml")
    return out
