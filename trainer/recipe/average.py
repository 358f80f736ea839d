"""Settings of averaging checkpoints."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from trainer.recipe.stage import NamedStage


class Average(NamedStage):
    """The average of checkpoints' weights, without training (model merging, Kimi k1.5, section 2.4)."""

    kind: Literal["average"] = "average"
    checkpoints: list[str] = Field(min_length=2)
    """Earlier stages, or checkpoints' paths; of one shape and one tokenizer. The first gives the tokenizer,
    the chat template and what else is no weight."""
    weights: list[float] | None = None
    """What each checkpoint counts for, divided by their sum; None counts all alike."""

    seed: ClassVar[int | None] = None

    @property
    def start(self) -> str:
        """The checkpoint that what is no weight comes from, and that the result is compared with."""
        return self.checkpoints[0]

    @model_validator(mode="after")
    def _one_weight_each(self) -> "Average":
        twice = sorted({place for place in self.checkpoints if self.checkpoints.count(place) > 1})
        if twice:
            raise ValueError(f"checkpoints: {twice} more than once; give each once, and weights")
        if self.weights is None:
            return self
        if len(self.weights) != len(self.checkpoints):
            raise ValueError(
                f"weights: {self.weights} is wrong because there are {len(self.checkpoints)} checkpoints; "
                "give one for each"
            )
        if min(self.weights) <= 0:
            raise ValueError(f"weights: {self.weights} is wrong; give numbers above 0")
        return self
