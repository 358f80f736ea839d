"""What every stage of a recipe has."""

from typing import ClassVar

from pydantic import Field, model_validator

from trainer.recipe.data import Source
from trainer.recipe.model import Optimizer
from trainer.recipe.section import Section

THINKMATH = Source(kind="thinkmath")


class NamedStage(Section):
    """What all stages have, also those that train nothing."""

    leaves_policy: ClassVar[bool] = True
    """Whether the checkpoint is a model that replies, so that others may begin with it."""

    name: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$")
    """Names the stage's folder; the kind unless given."""

    @model_validator(mode="before")
    @classmethod
    def _named_by_kind(cls, value: object) -> object:
        if isinstance(value, dict) and not value.get("name") and isinstance(value.get("kind"), str):
            return {**value, "name": value["kind"]}
        return value


class Stage(NamedStage):
    """What all stages that train have."""

    start: str | None = None
    """The stage whose checkpoint this one begins with, or any checkpoint's path; None is the nearest
    stage before that leaves a policy."""
    seed: int | None = None
    """None is the recipe's."""
    data: list[Source] = Field(default=[THINKMATH], min_length=1)
    optimizer: Optimizer
    checkpoint_every: int = Field(default=50, gt=0)
    """Optimizer steps."""
    evaluate_every: int = Field(default=0, ge=0)
    """Optimizer steps between measurements on held-out problems; 0 is never."""
