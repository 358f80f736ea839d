"""What a reward function sees of a finished rollout, and what it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from evals.problems import Problem


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished rollout as text, with what was asked of it: all of it is in the reply or known to the user.

    thinks: whether the prompt asks for thinking. thinking: the text between the tags, None if no block was
    opened. answer: what follows the (last) block. reply: the whole of it, with tags.
    tokens: length of the reply without inserted tokens. budget, stop_cause, finish_reason: as in `Rollout`.
    """

    problem: Problem
    thinks: bool
    reply: str
    thinking: str | None
    answer: str
    tokens: int
    thinking_tokens: int
    max_tokens: int
    budget: int | None
    stop_cause: str
    finish_reason: str


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
