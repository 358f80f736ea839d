"""`thinkdial train ablation`: measure checkpoints on the same problems, beside each other."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.commands.command import FAILED, INTERRUPTED, WRONG_USAGE, fail
from trainer.commands.measuring import add_measuring, measuring

if TYPE_CHECKING:
    from trainer.ablation.measure import Measured
    from trainer.recipe.recipe import Ablation

_EXAMPLE = """examples:
  thinkdial train ablation runs/tiny
  thinkdial train ablation runs/tiny/fusion/checkpoint serve/default_model --limit 200 --out runs/two
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "ablation",
        help="accuracy of every stage in each mode and at each budget",
        description="Serve each checkpoint, sweep budgets over the same problems, cut every trace at half of "
        "its own length, and ask in every way that thinking is switched. Writes ablation.json, ablation.md "
        "and a picture. The same command again goes on where it was stopped.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="CHECKPOINT_OR_RUN",
        help="one run's folder (all its stages), or checkpoint folders, each compared with the one before",
    )
    add_measuring(parser)
    parser.add_argument(
        "--mode-problems", type=int, metavar="N", help="problems asked in every way of switching modes (100)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write (the run's folder ablation, else runs/ablation)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, write, and print the table."""
    import httpx

    from clients import APIError
    from evals.report.tables import plain
    from trainer.ablation.run import FOLDER, MARKDOWN, ablate
    from trainer.ablation.tables import curve_table, half_table

    try:
        stages, settings, title = _asked(options)
        inside = options.paths[0] if _is_run(options.paths[0]) else Path("runs")
        out = options.out or inside / FOLDER
        numbers = ablate(stages, settings, out, title)
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    except (RuntimeError, APIError, httpx.HTTPError) as error:
        return fail(f"{error}\nwhat was drawn is stored; the same command goes on", FAILED)
    except KeyboardInterrupt:
        return fail("interrupted; what was drawn is stored, and the same command goes on", INTERRUPTED)
    print(f"{plain(curve_table(numbers))}\n\n{plain(half_table(numbers))}\n\n{out / MARKDOWN}")
    return 0


def _asked(options: argparse.Namespace) -> "tuple[list[Measured], Ablation, str]":
    """What to measure, how, and under which title. Raises ValueError naming what is wrong."""
    from trainer.ablation.run import stages_of
    from trainer.recipe import Recipe

    first: Path = options.paths[0]
    if not _is_run(first):
        settings = measuring(options, None, mode_problems=options.mode_problems)
        return _checkpoints(options.paths), settings, "Ablation"
    if len(options.paths) > 1:
        raise ValueError(f"{first} is a run; give one run, or checkpoint folders")
    recipe = Recipe.model_validate_json((first / "recipe.json").read_text("utf-8"))
    settings = measuring(options, recipe.ablation, mode_problems=options.mode_problems)
    return stages_of(first, recipe), settings, f"Ablation of {first.resolve().name}"


def _checkpoints(paths: list[Path]) -> "list[Measured]":
    """Checkpoint folders in the order given, named by their stage, each compared with the one before."""
    from trainer.ablation.measure import Measured

    found: list[Measured] = []
    for path in paths:
        if not (path / "config.json").is_file():
            raise ValueError(f"{path} is neither a checkpoint (no config.json) nor a run (no recipe.json)")
        whole = path.resolve()
        name = whole.parent.name if whole.name == "checkpoint" else whole.name
        taken = {stage.name for stage in found}
        if name in taken:
            raise ValueError(
                f"{path}: two checkpoints are named {name!r}; copy or link one under another name"
            )
        found.append(Measured(name, path, found[-1].name if found else None))
    return found


def _is_run(path: Path) -> bool:
    return (path / "recipe.json").is_file()
