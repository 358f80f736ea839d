"""What a term of the reward is: its values for a prompt group, and the range they lie in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from trainer.rewards.types import Completion

Function = TypeVar("Function", bound=Callable[..., list[float]])


@dataclass(frozen=True, slots=True)
class Range:
    """Smallest and largest value, both included."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Tags:
    """What opens and closes a thinking block in the model's text."""

    open: str
    close: str


class Term(Protocol):
    """A reward whose values are known to lie in a range, which may differ for right and wrong replies."""

    @property
    def right(self) -> Range: ...

    @property
    def wrong(self) -> Range: ...

    def score(self, group: Sequence[Completion], right: Sequence[bool]) -> list[float]:
        """A value for each completion of one prompt group; right: which answers are correct."""
        ...


def bounded(low: float, high: float) -> Callable[[Function], Function]:
    """Declare that a custom reward's values lie between low and high; a recipe cannot name one without."""
    if not low <= high:
        raise ValueError(f"bounded: low {low} is above high {high}; give the smaller one first")

    def mark(function: Function) -> Function:
        function.bounds = Range(low, high)  # type: ignore[attr-defined]
        return function

    return mark
