"""`thinkdial train run`: run a recipe, or resume it."""

import argparse

from trainer.commands.command import FAILED, INTERRUPTED, WRONG_USAGE, fail, termination_interrupts
from trainer.commands.recipes import add_recipe, add_run_folder, read_recipe, run_folder

_EXAMPLE = """examples:
  thinkdial train run trainer/recipes/tiny.toml --out runs/tiny
  thinkdial train run trainer/recipes/tiny.toml --set stages.fusion.tokens=200000 --set seed=1
  thinkdial train run trainer/recipes/qwen3-0.6b.toml --dry-run
  thinkdial train run trainer/recipes/tiny.toml --only fusion --from runs/tiny/reasoning_rl/checkpoint
  accelerate launch --num_processes 2 -m trainer.cli run trainer/recipes/tiny.toml
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "run",
        help="run a recipe, or resume it",
        description="Run the stages of a recipe one after another. The same command again skips finished "
        "stages and goes on with a stopped one.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_recipe(parser)
    add_run_folder(parser)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="STAGE", help="run these stages and no others"
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="CHECKPOINT",
        help="the folder that the first stage to be run begins with: `start` of that stage",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check the recipe, the model and the data, print what each stage will need, and train nothing",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the recipe, or check it."""
    out = run_folder(options)
    try:
        recipe = read_recipe(options).begun_with(options.start, options.only)
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    if options.dry_run:
        from trainer.dry_run import check, show

        found = check(recipe, out, options.only)
        print(show(found))
        return WRONG_USAGE if found.mistakes else 0

    from accelerate import PartialState
    from transformers.utils import logging

    from trainer.rl.collapse import CollapseError
    from trainer.rollouts.types import ServerError, SyncError
    from trainer.run import RunError, run_recipe
    from trainer.saving import is_of_storage

    logging.disable_progress_bar()
    try:
        with termination_interrupts():
            checkpoint = run_recipe(recipe, out, options.only)
    except RunError as error:
        return fail(str(error), WRONG_USAGE)
    except (CollapseError, SyncError) as error:
        return fail(str(error), FAILED)
    except ServerError as error:
        return fail(f"{error}; the same command goes on from the last checkpoint in {out}", FAILED)
    except OSError as error:
        if not is_of_storage(error):
            raise
        return fail(f"{error}; the same command goes on from the last checkpoint in {out}", FAILED)
    except KeyboardInterrupt:
        return fail(f"stopped; the same command goes on from the last checkpoint in {out}", INTERRUPTED)
    PartialState().print(f"checkpoint: {checkpoint}")
    return 0
