"""Show a failure: train its arms with every seed, measure their checkpoints, and say what they show."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from accelerate import PartialState

from evals.report.tables import escape_markdown
from serve.formats import load_format
from trainer.checkpoints import load_tokenizer
from trainer.failures import plots
from trainer.failures.arms import Arms, every_seed, points_of
from trainer.failures.calibration import calibration_numbers
from trainer.failures.calibration import sentences as calibration_sentences
from trainer.failures.curves import Measured, Numbers
from trainer.failures.measure import held_out, measure
from trainer.failures.mode_collapse import mode_collapse_numbers
from trainer.failures.mode_collapse import sentences as mode_collapse_sentences
from trainer.failures.overoptimization import Proxies, over_optimization_numbers
from trainer.failures.overoptimization import sentences as over_optimization_sentences
from trainer.recipe import Recipe
from trainer.recipe.failure import Failure
from trainer.recipe.load import RECIPES
from trainer.recipe.stages import RLStage
from trainer.rewards import stage_rewards
from trainer.run import run_recipe

Name = Literal["over-optimization", "mode-collapse", "calibration"]
FOLDER = "failure"


@dataclass(frozen=True, slots=True)
class Shown:
    """How a failure is told: its sentences and its picture, from its numbers."""

    sentences: Callable[[Numbers], list[str]]
    draw: Callable[[Numbers], bytes]


FAILURES: dict[Name, Shown] = {
    "over-optimization": Shown(over_optimization_sentences, plots.over_optimization),
    "mode-collapse": Shown(mode_collapse_sentences, plots.mode_collapse),
    "calibration": Shown(calibration_sentences, plots.calibration),
}


def recipe_of(name: Name) -> Path:
    """The shipped recipe of a failure."""
    return RECIPES / "failures" / f"{name.replace('-', '_')}.toml"


def run_failure(
    name: Name, recipe: Recipe, seeds: Sequence[int], out: Path, thinks: bool | None = None
) -> Path:
    """Train, measure and show a failure into `out`; returns the folder of the report, `out / "failure"`.

    It gets NAME.json (all numbers), NAME.md (the sentences) and NAME.png. Finished stages and measured
    checkpoints are not made again; a stopped command goes on. thinks: see `every_seed`. Raises ValueError
    where the recipe does not fit the failure, and what training raises.
    """
    if recipe.failure is None:
        raise ValueError("failure: the recipe has no such section; add one, which may be empty")
    arms = every_seed(recipe, seeds, thinks)
    run_recipe(arms.recipe, out)
    folder = out / FOLDER
    processes = PartialState()
    if processes.is_main_process:
        numbers = measured_numbers(name, arms, recipe.failure, out, folder)
        write_report(name, numbers, folder)
    processes.wait_for_everyone()
    return folder


def measured_numbers(name: Name, arms: Arms, settings: Failure, run: Path, folder: Path) -> Numbers:
    """Measure the arms trained in `run`, and the numbers of a failure."""
    points = points_of(arms, run)
    at_start = settings.best_of if name == "over-optimization" else settings.samples
    measured = Measured(arms, points, measure(arms, points, settings, folder, at_start))
    if name == "over-optimization":
        return over_optimization_numbers(measured, proxies_of(measured, settings, run))
    if name == "mode-collapse":
        return mode_collapse_numbers(measured, settings.samples)
    return calibration_numbers(measured, settings.samples)


def proxies_of(measured: Measured, settings: Failure, run: Path) -> Proxies:
    """The reward each arm was trained with, of every reply measured along its way."""
    arms = measured.arms
    form = load_format(load_tokenizer(arms.start), arms.start)
    stages = {stage.name: stage for stage in arms.recipe.stages}
    problems = held_out(settings)
    found: Proxies = {}
    for arm, names in arms.stages.items():
        for seed, name in zip(arms.seeds, names, strict=True):
            stage = stages[name]
            assert isinstance(stage, RLStage)
            rewards = stage_rewards(stage, (form.open, form.close), run)
            for step in measured.steps(arm):
                groups = [
                    [reply.completion(problem, arms.thinks) for reply in its]
                    for problem, its in zip(problems, measured.by_problem(arm, seed, step), strict=True)
                ]
                scored = rewards.score(groups, stage.steps)
                found[arm, seed, step] = [[one.total for one in its] for its in scored]
    return found


def write_report(name: Name, numbers: dict[str, Any], folder: Path) -> None:
    """Write the JSON, the picture and the sentences."""
    shown = FAILURES[name]
    folder.mkdir(parents=True, exist_ok=True)
    told = shown.sentences(numbers)
    numbers = numbers | {"sentences": told}
    (folder / f"{name}.json").write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", "utf-8")
    (folder / f"{name}.png").write_bytes(shown.draw(numbers))
    text = "\n\n".join([f"# {name.capitalize()}", *map(escape_markdown, told), f"![{name}]({name}.png)"])
    (folder / f"{name}.md").write_text(text + "\n", "utf-8")
