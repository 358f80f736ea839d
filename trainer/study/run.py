"""Run a study: train every arm with every seed, measure them all on the same problems, and say what helps."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from trainer.ablation.measure import Measured, measure
from trainer.ablation.numbers import stage_numbers
from trainer.recipe import Recipe
from trainer.recipe.recipe import Ablation
from trainer.recipe.stages import RLStage
from trainer.run import run_recipe, start_folder
from trainer.study.arms import Study, spell_out
from trainer.study.numbers import Numbers, study_numbers
from trainer.study.report import PLOT, as_markdown, draw
from trainer.study.training import training_numbers
from trainer.study.training_plot import PLOT as TRAINING_PLOT
from trainer.study.training_plot import draw_training

JSON, MARKDOWN = "study.json", "study.md"
START = "before"
"""Under which name the checkpoint that all arms begin with is measured."""


def run_study(recipe: Recipe, seeds: Sequence[int], out: Path, worthwhile: float = 0.02) -> Path:
    """Train and compare the arms of `recipe` into `out`; returns the folder of the report, `out / "study"`.

    See `trainer.study.arms.spell_out` for what the arms are. worthwhile: the smallest difference in accuracy
    worth having. Finished stages and measurements are not made again; a stopped study goes on. Raises
    ValueError where the recipe is no study or has no ablation, and what training and sweeps raise.
    """
    if recipe.ablation is None:
        raise ValueError("ablation: the recipe has no such section; add one, with budgets to compare at")
    study = spell_out(recipe, seeds)
    run_recipe(study.recipe, out)
    folder = out / "study"
    processes = PartialState()
    if processes.is_main_process:
        report(study, recipe.ablation, out, folder, worthwhile)
    processes.wait_for_everyone()
    return folder


def report(study: Study, settings: Ablation, run: Path, folder: Path, worthwhile: float) -> Numbers:
    """Measure the arms that are trained in `run`, and the checkpoint they begin with; write the report."""
    names = [name for stages in study.arms.values() for name in stages]
    first = next(stage for stage in study.recipe.stages if stage.name == names[0])
    measured = [Measured(START, start_folder(study.recipe, first, run), None)]
    measured += [Measured(name, run / name / "checkpoint", START) for name in names]
    for place, stage in enumerate(measured, start=1):
        print(f"study: {stage.name} ({place} of {len(measured)})", file=sys.stderr, flush=True)
        measure(stage, settings, folder)
    by_rl = all(isinstance(stage, RLStage) for stage in study.recipe.stages if stage.name in names)
    training = training_numbers(study.arms, run) if by_rl else None
    return write_report(study.arms, measured, folder, worthwhile, training)


def write_report(
    arms: dict[str, list[str]],
    measured: Sequence[Measured],
    folder: Path,
    worthwhile: float,
    training: Numbers | None = None,
) -> Numbers:
    """Write `study.json`, `study.md` and `study.png` from the stores in `folder`; returns the numbers.

    training: of `training_numbers`, which are drawn as `training.png`.
    """
    numbers = study_numbers(arms, folder, worthwhile)
    numbers["training"] = training
    numbers["stages"] = [stage_numbers(stage, folder) for stage in measured]
    stages = {stage["name"]: stage for stage in numbers["stages"]}
    (folder / JSON).write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", "utf-8")
    (folder / MARKDOWN).write_text(as_markdown(numbers, f"Study of {', '.join(arms)}"), "utf-8")
    (folder / PLOT).write_bytes(draw(numbers, stages, START if START in stages else None))
    if training is not None:
        (folder / TRAINING_PLOT).write_bytes(draw_training(training))
    return numbers
