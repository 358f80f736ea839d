"""What a reward is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trainer.completion import Completion


@dataclass(frozen=True, slots=True)
class Scored:
    """A reply's reward.

    parts: each term's own value, before its weight, also where that is 0; whether the reply is right is
    always among them, as `correctness`. notes: what terms tell beside it: numbers, whose means are logged,
    and text, which goes to the traces.
    """

    total: float
    parts: dict[str, float]
    notes: Mapping[str, float | str] = field(default_factory=dict)


class Reward(Protocol):
    """Scores the completions of one prompt group; a value for each, in their order."""

    def __call__(self, group: Sequence[Completion]) -> list[float]: ...
