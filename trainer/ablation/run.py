"""The ablation of a run: measure the stages one after another, then write table and picture."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from trainer.ablation.measure import Measured, measure
from trainer.ablation.numbers import Numbers, ablation_numbers
from trainer.ablation.plot import draw
from trainer.ablation.tables import PLOT, as_markdown
from trainer.recipe import Recipe
from trainer.recipe.recipe import Ablation

FOLDER = "ablation"
JSON, MARKDOWN = "ablation.json", "ablation.md"
FILES = (JSON, MARKDOWN, PLOT)


def run_ablation(run: Path, recipe: Recipe) -> Path:
    """Measure every stage of a finished run and write `run / "ablation"`; returns that folder.

    Stages that are measured already are not asked again; a stopped measurement goes on. In a run of several
    processes the first one measures, and the others wait for it. Raises ValueError where the recipe asks for
    no ablation, a stage is not finished, or the folder holds other weights.
    """
    if recipe.ablation is None:
        raise ValueError("ablation: the recipe has no such section; add one, with budgets")
    out = run / FOLDER
    processes = PartialState()
    if processes.is_main_process:
        ablate(stages_of(run, recipe), recipe.ablation, out, f"Ablation of {run.resolve().name}")
    processes.wait_for_everyone()
    return out


def stages_of(run: Path, recipe: Recipe) -> list[Measured]:
    """The stages to measure, each with the nearest measured one that it comes from.

    Raises ValueError for one without a checkpoint.
    """
    wanted = None if recipe.ablation is None else recipe.ablation.stages
    policies = [stage.name for stage in recipe.stages if stage.leaves_policy]
    names = [name for name in policies if wanted is None or name in wanted]
    starts = {stage.name: recipe.start_of(stage) for stage in recipe.stages}
    found = []
    for name in names:
        parent = starts[name]
        while parent is not None and parent in starts and parent not in names:
            parent = starts[parent]
        checkpoint = run / name / "checkpoint"
        if not checkpoint.is_dir():
            raise ValueError(f"stages.{name}: {run} has no checkpoint of it; run the recipe to its end first")
        found.append(Measured(name, checkpoint, parent if parent in names else None))
    return found


def ablate(stages: Sequence[Measured], settings: Ablation, out: Path, title: str) -> Numbers:
    """Measure `stages` into `out` and write `FILES` there; returns the numbers.

    Beside each stage and its parent, the last stage is compared with the first one that it comes from.
    """
    for place, stage in enumerate(stages, start=1):
        print(f"ablation: {stage.name} ({place} of {len(stages)})", file=sys.stderr, flush=True)
        measure(stage, settings, out)
    numbers = ablation_numbers(stages, out)
    (out / JSON).write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", "utf-8")
    (out / MARKDOWN).write_text(as_markdown(numbers, title), "utf-8")
    (out / PLOT).write_bytes(draw(numbers))
    return numbers
