"""A whole recipe."""

from typing import Literal

from pydantic import Field, model_validator

from trainer.recipe.model import Model
from trainer.recipe.section import Section
from trainer.recipe.stages import AnyStage


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
        if len(set(names)) != len(names):
            raise ValueError(f"stages.name: {names!r}; expected each name once")
        return self
