"""A whole recipe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from trainer.recipe.model import Model
from trainer.recipe.section import Section
from trainer.recipe.stages import AnyStage
from trainer.seeds import derive_seed


class Logging(Section):
    """Beside `metrics.jsonl`, which is always written."""

    trackers: list[Literal["wandb", "trackio", "tensorboard"]] = []
    project: str = "thinkdial"
    traces: int = Field(default=4, ge=0)
    """Sample replies written to `traces.jsonl` with every measurement."""


class Ablation(Section):
    """The last output: every stage's accuracy in each mode and at each budget, on the same problems."""

    problems: str = "thinkmath"
    limit: int = Field(default=500, gt=0)
    budgets: list[int] = Field(min_length=1)
    """Thinking tokens; thinking off (0) and unlimited thinking are always measured."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Of a reply; None is what the context holds."""
    mode_problems: int = Field(default=100, gt=0)
    """Problems asked in every way that thinking is switched."""
    stages: list[str] | None = None
    """None is all."""


class Recipe(Section):
    """A run: a model, then its stages."""

    seed: int = 0
    threads: int | None = Field(default=None, gt=0)
    """CPU threads of each process; None is PyTorch's choice."""
    model: Model
    logging: Logging = Logging()
    stages: list[AnyStage] = Field(min_length=1)
    ablation: Ablation | None = None

    @model_validator(mode="after")
    def _stages_named(self) -> "Recipe":
        names = [stage.name for stage in self.stages]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"stages.name: {twice} more than once; give each stage a name of its own")
        for index, stage in enumerate(self.stages):
            _check_start(stage.name, stage.start, names[:index], names[index:])
            if self.model.lora is not None and stage.optimizer.muon_lr is not None:
                raise ValueError(
                    f"stages.{stage.name}.optimizer.muon_lr: {stage.optimizer.muon_lr} is wrong because Muon "
                    "is for whole matrices and model.lora trains thin ones; leave it out"
                )
        if self.ablation and self.ablation.stages is not None:
            unknown = sorted(set(self.ablation.stages) - set(names))
            if unknown:
                raise ValueError(f"ablation.stages: {unknown} are no stages; the stages are {names}")
        return self

    def start_of(self, stage: AnyStage) -> str | None:
        """What a stage begins with: an earlier stage's name, a checkpoint's path, or None for the model."""
        if stage.start is not None:
            return stage.start
        names = [other.name for other in self.stages]
        index = names.index(stage.name)
        return names[index - 1] if index else None

    def begun_with(self, start: str | None, only: Sequence[str] = ()) -> "Recipe":
        """This recipe with `start` given to the first stage to be run, which is the first of `only`, if any.

        Raises:
            ValueError: a name of `only` is no stage's.
        """
        names = [stage.name for stage in self.stages]
        unknown = [name for name in only if name not in names]
        if unknown:
            raise ValueError(f"--only: {unknown} are no stages; the stages are {names}")
        if start is None:
            return self
        first = next(stage.name for stage in self.stages if not only or stage.name in only)
        _check_start(first, start, names[: names.index(first)], names[names.index(first) :])
        stages = [
            stage.model_copy(update={"start": start}) if stage.name == first else stage
            for stage in self.stages
        ]
        return self.model_copy(update={"stages": stages})

    def seed_of(self, stage: AnyStage) -> int:
        """The stage's own seed, exactly, else one made from the recipe's and the stage's name.

        So no two stages draw the same problems, unless they are given one seed.
        """
        return derive_seed(self.seed, "stage", stage.name) if stage.seed is None else stage.seed


def _check_start(name: str, start: str | None, earlier: list[str], later: list[str]) -> None:
    if start is None or start in earlier:
        return
    field = f"stages.{name}.start: {start!r}"
    if start == name:
        raise ValueError(f"{field} is the stage itself; name an earlier stage or a checkpoint's folder")
    if start in later:
        raise ValueError(f"{field} comes after the stage; move it before, or name one of {earlier}")
    # Hub names have a slash; a plain word is a mistyped stage unless there is such a folder.
    if "/" not in start and not Path(start).is_dir():
        raise ValueError(
            f"{field} is neither an earlier stage nor a folder; name one of {earlier} or give a path"
        )
