"""Search a learning rate and a group size for an RL stage: short runs, measured on held-out problems.

    python -m trainer.bench.rl_search trainer/recipes/tiny.toml --stage reasoning_rl \
        --from runs/tiny/cold_start/checkpoint --learning-rates 1e-4 3e-4 1e-3 --group-sizes 8 16 --steps 40

Rollouts per step are the recipe's for every group size, so that all runs cost the same; `muon_lr` keeps its
ratio to `adamw_lr`. Differences from the start are paired by problem.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator

from evals.problems import load
from evals.stats import clustered_proportion, paired_difference
from evals.stats.proportions import Estimate
from serve.formats import load_format
from trainer.checkpoints import load_tokenizer
from trainer.context import StageContext
from trainer.recipe import Recipe, load_recipe
from trainer.recipe.stages import GeneralRL, ReasoningRL
from trainer.rl import CollapseError, run_stage
from trainer.rl.evaluation import Answer, Arm, answer_all
from trainer.rollouts import open_backend

AnyRL = ReasoningRL | GeneralRL
ARMS = (Arm("think", True), Arm("no_think", False))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the grid and print its table; a run that is there already is only measured."""
    options = _parser().parse_args(argv)
    recipe = load_recipe(options.recipe, options.overrides)
    stages = {stage.name: stage for stage in recipe.stages if isinstance(stage, ReasoningRL | GeneralRL)}
    if options.stage not in stages:
        raise ValueError(
            f"--stage: {options.stage!r} is no stage of RL in the recipe; give one of {[*stages]}"
        )
    stage = stages[options.stage]
    before = right_by_problem(measure(recipe, stage, options.start, options.problems))
    rows = [table_row("start", before, before)]
    print(rows[0], file=sys.stderr)
    for group_size in options.group_sizes:
        for rate in options.learning_rates:
            trial = variant(stage, rate, group_size, options.steps)
            name = f"lr {rate:g}, groups of {group_size}"
            folder = options.out / f"lr_{rate:g}_group_{group_size}"
            try:
                checkpoint = run_trial(recipe, trial, options.start, folder)
            except CollapseError as error:
                rows.append(f"| {name} | collapsed: {error} | | | |")
            else:
                after = right_by_problem(measure(recipe, trial, checkpoint, options.problems))
                rows.append(table_row(name, before, after))
            print(rows[-1], file=sys.stderr)
    table = "\n".join([*_HEAD, *rows])
    (options.out / "search.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    return 0


def variant(stage: AnyRL, rate: float, group_size: int, steps: int) -> AnyRL:
    """The stage with another learning rate, group size and length, at equal rollouts per step."""
    rollouts = stage.prompts_per_step * stage.group_size
    if rollouts % group_size:
        raise ValueError(
            f"--group-sizes: {group_size} does not divide the {rollouts} rollouts of a step; give a divisor"
        )
    muon = stage.optimizer.muon_lr
    ratio = rate / stage.optimizer.adamw_lr
    optimizer = {"adamw_lr": rate, "muon_lr": None if muon is None else muon * ratio}
    return stage.model_copy(
        update={
            "optimizer": stage.optimizer.model_copy(update=optimizer),
            "group_size": group_size,
            "prompts_per_step": rollouts // group_size,
            "steps": steps,
            "evaluate_every": 0,
        }
    )


def run_trial(recipe: Recipe, stage: AnyRL, start: Path, folder: Path) -> Path:
    """Train the stage in `folder` unless it has been; returns its checkpoint. A killed trial goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "stage.json"
    wanted = stage.model_dump(mode="json") | {"start": str(start)}
    if settings.exists() and json.loads(settings.read_text(encoding="utf-8")) != wanted:
        raise ValueError(f"--out: {folder} holds a trial of other settings; give another folder")
    settings.write_text(json.dumps(wanted), encoding="utf-8")
    context = StageContext(recipe, stage, recipe.seed_of(stage), start, folder.parent, folder)
    if not context.checkpoint.exists():
        run_stage(context)
    return context.checkpoint


def measure(recipe: Recipe, stage: AnyRL, checkpoint: Path, problems: int) -> list[Answer]:
    """Greedy answers of a checkpoint to held-out problems, in both modes."""
    form = load_format(load_tokenizer(checkpoint), checkpoint)
    backend = open_backend(stage.rollouts, checkpoint, recipe.seed)
    name = "thinkmath" if recipe.ablation is None else recipe.ablation.problems
    try:
        return answer_all(backend, load(name, limit=problems), ARMS, stage.rollouts, form, Accelerator())
    finally:
        backend.close()


def right_by_problem(answers: Sequence[Answer]) -> dict[str, dict[str, list[float]]]:
    """For each arm, each problem's results."""
    return {
        arm.name: {one.problem: [float(one.right)] for one in answers if one.arm == arm.name} for arm in ARMS
    }


def table_row(
    name: str, before: dict[str, dict[str, list[float]]], after: dict[str, dict[str, list[float]]]
) -> str:
    """A line of the table: shares with 95 % intervals, and their paired differences from `before`."""
    cells = [name]
    for arm in ARMS:
        cells.append(_percent(clustered_proportion(after[arm.name])))
        cells.append(_percent(paired_difference(before[arm.name], after[arm.name]), sign="+"))
    return "| " + " | ".join(cells) + " |"


_HEAD = ["| run | think | change | no_think | change |", "|---|---|---|---|---|"]


def _percent(estimate: Estimate | None, sign: str = "") -> str:
    assert estimate is not None
    mean, low, high = (f"{100 * value:{sign}.1f}" for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low} to {high})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--stage", required=True, help="name of the recipe's stage of RL")
    parser.add_argument("--from", type=Path, required=True, dest="start", metavar="CHECKPOINT")
    parser.add_argument("--learning-rates", type=float, nargs="+", required=True)
    parser.add_argument("--group-sizes", type=int, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--problems", type=int, default=500, help="held-out ones to measure on")
    parser.add_argument("--out", type=Path, default=Path("runs/rl_search"))
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE", help="change the recipe"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
