"""A whole recipe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from trainer.recipe.average import Average
from trainer.recipe.failure import Failure
from trainer.recipe.model import Model
from trainer.recipe.section import Section
from trainer.recipe.stages import AnyStage, Fusion, RLStage
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
    failure: Failure | None = None

    @model_validator(mode="after")
    def _stages_named(self) -> "Recipe":
        names = [stage.name for stage in self.stages]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"stages.name: {twice} more than once; give each stage a name of its own")
        for index, stage in enumerate(self.stages):
            earlier = self.stages[:index]
            if isinstance(stage, Average):
                for place in stage.checkpoints:
                    field = f"stages.{stage.name}.checkpoints"
                    _check_place(field, stage.name, place, names, index)
                    _check_policy(field, place, earlier)
                continue
            places = {f"stages.{stage.name}.start": stage.start}
            if isinstance(stage, Fusion) and stage.rejection is not None:
                places[f"stages.{stage.name}.rejection.sampled_from"] = stage.rejection.sampled_from
            for field, taken in places.items():
                _check_place(field, stage.name, taken, names, index)
                _check_policy(field, taken, earlier)
            _check_reward_models(stage, earlier)
            if self.model.lora is not None and stage.optimizer.muon_lr is not None:
                raise ValueError(
                    f"stages.{stage.name}.optimizer.muon_lr: {stage.optimizer.muon_lr} is wrong because Muon "
                    "is for whole matrices and model.lora trains thin ones; leave it out"
                )
        if self.ablation and self.ablation.stages is not None:
            policies = [stage.name for stage in self.stages if stage.leaves_policy]
            unknown = sorted(set(self.ablation.stages) - set(policies))
            if unknown:
                raise ValueError(
                    f"ablation.stages: {unknown} are no stages that leave a policy; those are {policies}"
                )
        return self

    def start_of(self, stage: AnyStage) -> str | None:
        """What a stage begins with: an earlier stage's name, a checkpoint's path, or None for the model."""
        if stage.start is not None:
            return stage.start
        names = [other.name for other in self.stages]
        before = self.stages[: names.index(stage.name)]
        return next((other.name for other in reversed(before) if other.leaves_policy), None)

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
        first = next(stage for stage in self.stages if not only or stage.name in only)
        if isinstance(first, Average):
            raise ValueError(
                f"--from: {start!r} is wrong because stage {first.name!r} averages the checkpoints it names; "
                f"give them by --set stages.{first.name}.checkpoints"
            )
        field, index = f"stages.{first.name}.start", names.index(first.name)
        _check_place(field, first.name, start, names, index)
        _check_policy(field, start, self.stages[:index])
        stages = [
            stage.model_copy(update={"start": start}) if stage is first else stage for stage in self.stages
        ]
        return self.model_copy(update={"stages": stages})

    def seed_of(self, stage: AnyStage) -> int:
        """The stage's own seed, exactly, else one made from the recipe's and the stage's name.

        So no two stages draw the same problems, unless they are given one seed.
        """
        return derive_seed(self.seed, "stage", stage.name) if stage.seed is None else stage.seed


def _check_place(field: str, name: str, place: str | None, names: Sequence[str], index: int) -> None:
    """Raise ValueError unless stage `name`, the one at `index`, can take a checkpoint from `place`."""
    earlier = names[:index]
    if place is None or place in earlier:
        return
    if place == name:
        raise ValueError(f"{field}: {place!r} is the stage itself; name an earlier stage or a folder")
    if place in names:
        raise ValueError(
            f"{field}: {place!r} comes after the stage; move it before, or name one of {earlier}"
        )
    # Hub names have a slash; a plain word is a mistyped stage unless there is such a folder.
    if "/" not in place and not Path(place).is_dir():
        raise ValueError(
            f"{field}: {place!r} is neither an earlier stage nor a folder; name one of {earlier} or give a "
            "path"
        )


def _check_policy(field: str, place: str | None, earlier: Sequence[AnyStage]) -> None:
    """Raise ValueError if a stage takes a checkpoint that is no policy."""
    policies = [other.name for other in earlier if other.leaves_policy]
    if place in {other.name for other in earlier} - set(policies):
        raise ValueError(
            f"{field}: {place!r} is wrong because that stage leaves a reward model, which gives no replies; "
            f"name one of {policies}, or a checkpoint's folder"
        )


def _check_reward_models(stage: AnyStage, earlier: Sequence[AnyStage]) -> None:
    """Raise ValueError if a stage is rewarded by a reward model that no earlier stage leaves."""
    models = [other.name for other in earlier if not other.leaves_policy]
    for term in stage.rewards if isinstance(stage, RLStage) else []:
        named = term.options.get("stage") if term.name == "learned" else None
        if named is not None and named not in models:
            raise ValueError(
                f"stages.{stage.name}.rewards.learned.options.stage: {named!r} is no earlier reward_model "
                f"stage; those are {models}; name one, or give path in its place"
            )
