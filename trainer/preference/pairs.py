"""From scored replies to pairs: which of N to a problem is chosen over which, and what the pair weighs."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.recipe.preference import Pairs
from trainer.rows.row import Row

LONGER = 1.5
"""From how many times the shortest right reply's length a right one is rejected (Kimi k1.5, section 2.4)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replies to one prompt, as rows that train where their weights are 1. weight: of the pair."""

    chosen: Row
    rejected: Row
    weight: float

    @property
    def length(self) -> int:
        """Tokens of the longer row, prompt included."""
        return max(len(self.chosen.ids), len(self.rejected.ids))


@dataclass(frozen=True, slots=True)
class Judged:
    """A sampled reply to a problem.

    score: its reward. tokens: its length without inserted tokens. ended: by itself, its thinking uncut: only
    such a reply is an example to follow. identity: equal for equal replies.
    """

    score: float
    right: bool
    ended: bool
    tokens: int
    identity: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Reply `chosen` over reply `rejected`, by their places. gap: how much better it is."""

    chosen: int
    rejected: int
    gap: float


def choose_pairs(replies: Sequence[Judged], settings: Pairs, rng: random.Random) -> list[Choice]:
    """At most `per_problem` pairs of the replies to one problem, each of which a different choice."""
    found = (
        _short(replies, settings.longer or LONGER)
        if settings.prefer == "short"
        else _right(replies, settings)
    )
    rng.shuffle(found)
    uses = [0] * len(replies)
    seen: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    chosen: list[Choice] = []
    while found and len(chosen) < settings.per_problem:
        best = max(found, key=lambda choice: (choice.gap, -uses[choice.chosen] - uses[choice.rejected]))
        found.remove(best)
        texts = replies[best.chosen].identity, replies[best.rejected].identity
        if texts not in seen:
            seen.add(texts)
            chosen.append(best)
            uses[best.chosen] += 1
            uses[best.rejected] += 1
    return chosen


def _right(replies: Sequence[Judged], settings: Pairs) -> list[Choice]:
    """Every pair whose rewards differ by more than a near tie, the better one an example to follow."""
    return [
        Choice(better, worse, one.score - other.score)
        for better, one in enumerate(replies)
        for worse, other in enumerate(replies)
        if one.ended and one.score - other.score > settings.near_tie
    ]


def _short(replies: Sequence[Judged], longer: float) -> list[Choice]:
    """The shortest right reply over longer ones. gap: how many times as long the rejected one is."""
    right = [place for place, reply in enumerate(replies) if reply.right and reply.ended]
    if not right:
        return []
    shortest = min(right, key=lambda place: replies[place].tokens)
    tokens = replies[shortest].tokens
    return [
        Choice(shortest, place, reply.tokens / tokens)
        for place, reply in enumerate(replies)
        if (reply.tokens >= longer * tokens if reply.right else reply.tokens > tokens)
    ]


def pair_weights(gaps: Sequence[float], by_gap: bool) -> list[float]:
    """Weights of mean 1: all the same, or in proportion to the gaps."""
    if not by_gap:
        return [1.0] * len(gaps)
    mean = sum(gaps) / max(1, len(gaps))
    return [gap / mean for gap in gaps]
