"""Which problems a step asks: evenly, from easy to hard, or those that still fail."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from trainer.examples import Example
from trainer.recipe.rl import ProblemSampling
from trainer.seeds import derive_rng

WINDOW = 0.5
"""Share of the pool, sorted by level, that easy_to_hard draws from at any time."""
MEMORY = 0.5
"""What a problem's earlier tries count for at each later visit: success rates follow the policy."""


class Examples(Protocol):
    """The stage's sources as one endless stream, `trainer.sources.ExampleStream`."""

    size: int | None

    def at(self, index: int) -> Example: ...


class ProblemSampler:
    """Draws places in the example stream; every draw is a function of the seed, its number and `state`.

    uniform: the stream in its order, which visits finite sources in passes; a pool in passes of random order.
    easy_to_hard: the pool sorted by level, under a window that slides from its easy to its hard end.
    prioritised: with probability proportional to 1 - success rate (Kimi k1.5, section 2.3.4). Rates are
    smoothed, (successes + 1) / (tries + 2), so that a problem is 1/2 before its first try and never gone.
    """

    def __init__(self, examples: Examples, settings: ProblemSampling, seed: int) -> None:
        self._settings, self._seed = settings, seed
        self._pool = settings.pool
        if examples.size is not None and (self._pool or settings.strategy != "uniform"):
            self._pool = min(self._pool or examples.size, examples.size)
        if self._pool is None and settings.strategy != "uniform":
            raise ValueError(
                f"sampling.pool: None is wrong because strategy {settings.strategy!r} chooses from a fixed "
                "set and these sources are endless; give the number of problems to choose from"
            )
        self._by_level: list[int] = []
        if settings.strategy == "easy_to_hard":
            assert self._pool is not None
            levels = [_level(examples.at(place)) for place in range(self._pool)]
            self._by_level = sorted(range(self._pool), key=lambda place: (levels[place], place))
        self._drawn = 0
        self._tries: dict[int, list[float]] = {}
        self._epoch, self._order = -1, list[int]()

    def draw(self, count: int, progress: float, taken: Iterable[int] = ()) -> list[int]:
        """Places of `count` problems, each once where the pool is large enough.

        progress: share of the stage that is done, in [0, 1]. taken: places in flight, not to be drawn again.
        """
        places = self._places(count, progress, set(taken))
        self._drawn += count
        return places

    def record(self, place: int, successes: int, tries: int) -> None:
        """Remember how a problem's rollouts did."""
        if self._settings.strategy == "prioritised":
            before = self._tries.get(place, [0.0, 0.0])
            self._tries[place] = [before[0] * MEMORY + successes, before[1] * MEMORY + tries]

    def state(self) -> dict[str, Any]:
        """All that later draws depend on, as JSON values."""
        return {"drawn": self._drawn, "tries": {str(place): tries for place, tries in self._tries.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._drawn = state["drawn"]
        self._tries = {int(place): list(tries) for place, tries in state["tries"].items()}

    def _places(self, count: int, progress: float, taken: set[int]) -> list[int]:
        if self._pool is None:
            return list(range(self._drawn, self._drawn + count))
        if self._settings.strategy == "uniform":
            return [self._shuffled(self._drawn + number) for number in range(count)]
        rng = derive_rng(self._seed, "problem", self._drawn)
        if self._settings.strategy == "easy_to_hard":
            width = max(1, round(self._pool * WINDOW))
            first = round((self._pool - width) * min(1.0, progress))
            return _choose(rng.random, self._by_level[first : first + width], None, count, taken)
        weights = [1 - self.success_rate(place) for place in range(self._pool)]
        return _choose(rng.random, range(self._pool), weights, count, taken)

    def success_rate(self, place: int) -> float:
        """The smoothed share of right rollouts of a problem."""
        successes, tries = self._tries.get(place, (0.0, 0.0))
        return (successes + 1) / (tries + 2)

    def _shuffled(self, number: int) -> int:
        assert self._pool is not None
        epoch, position = divmod(number, self._pool)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, list(range(self._pool))
            derive_rng(self._seed, "epoch", epoch).shuffle(self._order)
        return self._order[position]


def _choose(
    uniform: Callable[[], float],
    places: Sequence[int],
    weights: Sequence[float] | None,
    count: int,
    taken: set[int],
) -> list[int]:
    """Weighted draws without replacement: the largest of u^(1/w) (Efraimidis and Spirakis, 2006).

    Draws again from all of them where too few are free.
    """
    weights = weights or [1.0] * len(places)
    keys = {place: math.log(1 - uniform()) / weight for place, weight in zip(places, weights, strict=True)}
    ordered = sorted(keys, key=lambda place: (place in taken, -keys[place]))
    return [ordered[number % len(ordered)] for number in range(count)]


def _level(example: Example) -> float:
    level = example.problem.level
    try:
        return float(level)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"sampling.strategy: 'easy_to_hard' is wrong because problem {example.problem.id!r} has level "
            f"{level!r}; give sources whose levels are numbers, or another strategy"
        ) from error
