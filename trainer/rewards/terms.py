"""What a term of the reward is: its values for a prompt group, and the range they lie in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from trainer.completion import Completion

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


class Ranged(Protocol):
    """A reward whose values are known to lie in a range, which may differ for right and wrong replies."""

    @property
    def right(self) -> Range: ...

    @property
    def wrong(self) -> Range: ...


@runtime_checkable
class Term(Ranged, Protocol):
    """A reward that a prompt group decides."""

    def score(self, group: Sequence[Completion], right: Sequence[bool]) -> list[float]:
        """A value for each completion of one prompt group; right: which answers are correct."""
        ...


@dataclass(frozen=True, slots=True)
class Noted:
    """A value, and what its term tells beside it; the names of notes begin with the term's."""

    value: float
    notes: Mapping[str, float | str]


@runtime_checkable
class StepTerm(Ranged, Protocol):
    """A reward that is worked out for all groups of a step together, as models and servers want it."""

    def score_step(self, groups: Sequence[Sequence[Completion]]) -> list[list[Noted]]:
        """A value for each completion of each prompt group."""
        ...


@runtime_checkable
class Verifier(Ranged, Protocol):
    """A reward that is whether an answer is right."""

    def verify(self, completions: Sequence[Completion]) -> list[bool]: ...


def bounded(low: float, high: float) -> Callable[[Function], Function]:
    """Declare that a custom reward's values lie between low and high; a recipe cannot name one without."""
    if not low <= high:
        raise ValueError(f"bounded: low {low} is above high {high}; give the smaller one first")

    def mark(function: Function) -> Function:
        function.bounds = Range(low, high)  # type: ignore[attr-defined]
        return function

    return mark
