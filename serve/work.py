"""What replies take of a server: lengths, from a profile's curves, and time, from its own steps. Pure.

A step of the engine that makes `tokens` tokens and starts `started` requests takes

    overhead + per_token * tokens + per_start * started    seconds.

The first term is not shared work: every running reply needs its own number of steps, however few they are.
The other two are, and they are what a reply costs the others. The three are fitted to the steps observed
(least squares, none negative, old steps forgotten); time in which nothing ran is left out. While one reply
runs at a time, steps and tokens are as many, and their time is taken to be the steps': what replies take of
each other has not been seen yet.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from serve.profile import BudgetCurve

WINDOW = 0.1
"""Seconds of steps that make one observation: single ones are noisy, and outputs may come in bunches."""
MEMORY = 300
"""Observations that are remembered."""
RIDGE = 1e-3
"""Of the squares of tokens and starts: decides what the observations do not."""
LEAST = 20
"""Observations before a fit is believed."""
BETWEEN = 4
"""Ceilings that are considered for each budget that was measured."""
LONG = 0.05
"""Share of replies that are longer than `Lengths.long`."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds of a step: of itself, of each token it makes, of each request it starts."""

    overhead: float
    per_token: float
    per_start: float


class StepFit:
    """Fits `StepTimes` to what one or several engines do."""

    def __init__(self) -> None:
        self._square = np.zeros((3, 3))
        self._product = np.zeros(3)
        self._count = 0
        self._last: dict[int, float] = {}
        self._open: dict[int, NDArray[np.float64]] = {}

    def step(self, now: float, rank: int, tokens: int, started: int, unfinished: int) -> None:
        """Note that a step of engine `rank` has ended; `unfinished` requests are left there."""
        last = self._last.pop(rank, None)
        if unfinished:
            self._last[rank] = now
        if last is None:
            return
        window = self._open.setdefault(rank, np.zeros(4))
        window += (1, tokens, started, now - last)
        if window[3] >= WINDOW:
            features, seconds = window[:3], window[3]
            keep = 1 - 1 / MEMORY
            self._square = keep * self._square + np.outer(features, features)
            self._product = keep * self._product + features * seconds
            self._count += 1
            del self._open[rank]

    def times(self) -> StepTimes | None:
        """The fit; None until there is enough to fit."""
        if self._count < LEAST:
            return None
        square = self._square + RIDGE * np.diag([0.0, self._square[1, 1], self._square[2, 2]])
        best, least = np.zeros(3), 0.0
        for size in (1, 2, 3):
            for chosen in combinations(range(3), size):
                part = np.ix_(chosen, chosen)
                found = np.linalg.lstsq(square[part], self._product[list(chosen)], rcond=1e-9)[0]
                # The error, less the part that all subsets share.
                error = -float(found @ self._product[list(chosen)])
                if (found >= 0).all() and error < least:
                    best, least = np.zeros(3), error
                    best[list(chosen)] = found
        return StepTimes(*map(float, best))


class Lengths:
    """How long replies think under a budget, if their natural lengths are `stretch` times the profile's.

    answer: tokens of an answer.
    """

    def __init__(self, curve: BudgetCurve, stretch: float = 1.0, answer: float = 0.0) -> None:
        self.curve, self.stretch, self.answer = curve, stretch, answer
        # Asked for every running reply, again and again.
        self._thinking: dict[int | None, float] = {}
        self._accuracy: dict[int | None, float] = {}

    def thinking(self, budget: int | None) -> float:
        """Mean thinking tokens."""
        if budget not in self._thinking:
            self._thinking[budget] = self.stretch * self._read(budget, self.curve.tokens_at)
        return self._thinking[budget]

    def accuracy(self, budget: int | None) -> float:
        """Expected accuracy."""
        if budget not in self._accuracy:
            self._accuracy[budget] = self._read(budget, self.curve.accuracy_at)
        return self._accuracy[budget]

    def longer(self, tokens: int) -> float:
        """Share of replies that think longer than `tokens` without a budget: the slope of the mean length."""
        place = math.floor(tokens / self.stretch)
        slope = self.curve.tokens_at(place + 1) - self.curve.tokens_at(place)
        return min(1.0, max(0.0, slope))

    def cut(self, budget: int | None) -> float:
        """Share of replies whose thinking a budget cuts: each is one more request to the engine."""
        return self.longer(budget) if budget else 0.0

    def left(self, budget: int | None, done: float) -> float:
        """Mean tokens that a reply under a budget still has to make, if it goes on after `done` of them."""
        if done < self.answer:
            return self.thinking(budget) + self.answer - done
        # E[T - done | T > done] of a total T that is thinking and an answer of a fixed length.
        place = round(done - self.answer)
        if budget is not None and place >= budget:
            return 1.0
        beyond = max(0.0, self.thinking(budget) - self.thinking(place))
        most = self.thinking(None) + self.answer  # where hardly any reply was seen to be that long
        return max(1.0, min(beyond / max(self.longer(place), LONG / 5), most))

    def long(self) -> float:
        """Tokens of a reply without a budget that but one in twenty exceed."""
        numbers = [place for place in self.ceilings() if place is not None]
        long = next((place for place in numbers if self.longer(place) <= LONG), max(numbers, default=0))
        return max(long, self.thinking(None)) + self.answer

    def ceilings(self) -> list[int | None]:
        """Budgets worth considering, ascending, no limit last: the measured ones, and some between."""
        measured = [point.budget for point in self.curve.points if point.budget is not None]
        if measured:
            measured.append(2 * measured[-1])  # the way to no limit, as the curve has it
        places = {*measured[:-1], *(place for pair in pairwise(measured) for place in _between(*pair))}
        return [*sorted(round(self.stretch * place) for place in places), None]

    def _read(self, budget: int | None, value: Callable[[int | None], float]) -> float:
        """A value of the curve where the profile has a budget; linear between whole tokens."""
        if budget is None:
            return value(None)
        place = budget / self.stretch
        below = math.floor(place)
        return value(below) + (place - below) * (value(below + 1) - value(below))


def _between(low: int, high: int) -> Iterator[int]:
    return (low + (high - low) * i // BETWEEN for i in range(BETWEEN))
