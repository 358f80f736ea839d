"""`thinkdial train failure`: show what goes wrong in RL from rewards, on a small model."""

import argparse
from pathlib import Path

from trainer.commands.command import WRONG_USAGE, end_in_report, fail

NAMES = ("over-optimization", "mode-collapse", "calibration")
_EXAMPLE = """examples:
  thinkdial train failure over-optimization
  thinkdial train failure mode-collapse --start runs/cold-start/cold_start/checkpoint --mode think
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "failure",
        help="show over-optimisation, mode collapse or miscalibration through RL",
        description="Trains the arms of the failure's recipe with several seeds, measures their checkpoints "
        "on held-out problems, and ends in a picture and two sentences computed from the numbers. The same "
        "command again goes on where it was stopped.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=NAMES, metavar="FAILURE", help=", ".join(NAMES))
    parser.add_argument(
        "--recipe", type=Path, metavar="RECIPE", help="TOML file (the failure's in trainer/recipes/failures)"
    )
    parser.add_argument(
        "--start", metavar="CHECKPOINT", help="what all arms begin with (the recipe's model.path)"
    )
    parser.add_argument(
        "--mode",
        choices=("think", "no_think"),
        help="how problems are asked in RL and measurement (the recipe's)",
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED", help="of every arm (0 1 2)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a value of the recipe, as in failure.limit=50 (repeat for more)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (runs/<failure>)")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, print what will be trained, and train nothing",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, measure, and print the sentences."""
    from transformers.utils import logging

    from trainer.dry_run import check, show
    from trainer.failures.arms import every_seed
    from trainer.failures.run import recipe_of, run_failure
    from trainer.recipe import load_recipe

    logging.disable_progress_bar()
    overrides = [*options.overrides]
    if options.start is not None:
        overrides.append(f'model.path="{options.start}"')
    thinks = None if options.mode is None else options.mode == "think"
    out: Path = options.out or Path("runs") / options.name
    try:
        recipe = load_recipe(options.recipe or recipe_of(options.name), overrides)
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    if options.dry_run:
        found = check(every_seed(recipe, options.seeds, thinks).recipe, out)
        print(show(found))
        return WRONG_USAGE if found.mistakes else 0
    return end_in_report(
        lambda: run_failure(options.name, recipe, options.seeds, out, thinks) / f"{options.name}.md"
    )
