"""A failure's recipe, once for every seed: all of its stages, and which checkpoints of them are measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.recipe import Recipe
from trainer.recipe.preference import PairStage
from trainer.recipe.rl import Collapse, Modes, RewardTerm
from trainer.recipe.stages import AnyStage, RLStage
from trainer.rl.state import kept_folder

START = "start"
"""The arm of the checkpoint that all begin with."""


@dataclass(frozen=True, slots=True)
class Arms:
    """A recipe with every stage once a seed.

    stages: of each arm, which is a stage of RL in the recipe, the name of its copy for each seed, in the
    order of `seeds`. thinks: whether the problems are asked with thinking.
    """

    recipe: Recipe
    seeds: tuple[int, ...]
    stages: dict[str, list[str]]
    thinks: bool

    @property
    def start(self) -> Path:
        """The checkpoint that all arms begin with."""
        assert self.recipe.model.path is not None
        return self.recipe.model.path


@dataclass(frozen=True, slots=True)
class Point:
    """A checkpoint to measure: an arm's after `step` steps with a seed; step 0 is the start of all."""

    arm: str
    seed: int
    step: int
    checkpoint: Path

    @property
    def name(self) -> str:
        return f"{self.arm}_seed{self.seed}_step{self.step}"


def every_seed(recipe: Recipe, seeds: Sequence[int], thinks: bool | None = None) -> Arms:
    """Give every stage of `recipe` to each seed: `<name>_seed<seed>`, with what they name renamed alike.

    thinks: asks all problems of RL and of pairs in that mode; None leaves the recipe's. Raises ValueError
    unless two seeds or more are given, each once, the recipe begins with a checkpoint, its stages of RL (one
    or more) all begin with that checkpoint, ask in one mode, and keep checkpoints to measure.
    """
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: {list(seeds)}; give two or more, each once: one says nothing of others")
    if recipe.model.path is None or recipe.model.thinking is not None:
        raise ValueError(
            "model: failures are shown on a checkpoint that thinks already; give model.path without "
            "model.thinking"
        )
    stages = list(recipe.stages)
    if thinks is not None:
        stages = [_asking(stage, Modes(no_think=float(not thinks))) for stage in stages]
    arms = [stage for stage in stages if isinstance(stage, RLStage)]
    if not arms:
        raise ValueError("stages: none is of RL; give one or more of kind reasoning_rl or general_rl")
    asked = {stage.modes.no_think for stage in arms}
    if asked not in ({0.0}, {1.0}):
        raise ValueError(
            f"modes.no_think: {sorted(asked)} mixes modes, which differ in all that is measured; give 0 in "
            "all stages of RL, or 1 in all"
        )
    for stage in arms:
        if stage.start is not None:
            raise ValueError(
                f"stages.{stage.name}.start: {stage.start!r} is wrong because all arms begin with "
                "model.path; leave it out"
            )
        if stage.collapse not in (None, Collapse()):
            raise ValueError(
                f"stages.{stage.name}.collapse: its alarms would stop what is to be shown, so all are off; "
                "leave it out"
            )
        if not stage.keep_every:
            raise ValueError(f"stages.{stage.name}.keep_every: 0 keeps no checkpoint to measure; give steps")
    start = str(recipe.model.path)
    return Arms(
        recipe.model_copy(
            update={"stages": [_copy(s, stages, seed, start) for seed in seeds for s in stages]}
        ),
        tuple(seeds),
        {stage.name: [f"{stage.name}_seed{seed}" for seed in seeds] for stage in arms},
        asked == {0.0},
    )


def _asking(stage: AnyStage, modes: Modes) -> AnyStage:
    """The stage with problems asked in these modes, where it samples replies to reward or to compare."""
    if isinstance(stage, RLStage):
        return stage.model_copy(update={"modes": modes})
    if isinstance(stage, PairStage) and stage.pairs.path is None:
        return stage.model_copy(update={"pairs": stage.pairs.model_copy(update={"modes": modes})})
    return stage


def _copy(stage: AnyStage, stages: Sequence[AnyStage], seed: int, start: str) -> AnyStage:
    """The stage for a seed: it begins with `start` unless it names another, and names that seed's stages."""
    names = {other.name: f"{other.name}_seed{seed}" for other in stages}
    begun = start if stage.start is None else names.get(stage.start, stage.start)
    changes: dict[str, Any] = {"name": names[stage.name], "seed": seed, "start": begun}
    if isinstance(stage, RLStage):
        changes |= {"rewards": [_renamed(term, names) for term in stage.rewards], "collapse": None}
    return stage.model_copy(update=changes)


def _renamed(term: RewardTerm, names: Mapping[str, str]) -> RewardTerm:
    """The term with the stage it is learnt in, if any, by its new name."""
    named = term.options.get("stage")
    return (
        term
        if named is None
        else term.model_copy(update={"options": {**term.options, "stage": names[named]}})
    )


def points_of(arms: Arms, run: Path) -> list[Point]:
    """The start, then each arm's kept checkpoints and its last, by seed and step."""
    points = [Point(START, 0, 0, arms.start)]
    stages = {stage.name: stage for stage in arms.recipe.stages}
    for arm, names in arms.stages.items():
        for seed, name in zip(arms.seeds, names, strict=True):
            stage = stages[name]
            assert isinstance(stage, RLStage)
            kept = range(stage.keep_every, stage.steps, stage.keep_every)
            points += [Point(arm, seed, step, kept_folder(run / name, step)) for step in kept]
            points.append(Point(arm, seed, stage.steps, run / name / "checkpoint"))
    return points
