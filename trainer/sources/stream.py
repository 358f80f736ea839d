"""A stage's sources as one stream: mixed by weight, the same on every machine, at random access."""

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from trainer.examples import Example

BLOCK = 1000
"""Draws among which every source has its share exactly."""


class ExampleSource(Protocol):
    """Examples by number. `at` is a function of the index alone, for 0 <= index < size; None is endless."""

    size: int | None

    def at(self, index: int) -> Example: ...


class ExampleStream:
    """Endless draws from sources by weight; a finite source is shuffled anew for each pass over it.

    In every BLOCK draws each source has its share of them, rounded to whole draws by largest remainder; the
    order within a block is random. Which example a draw gives depends on the seed and the draw's index only.

    size: the examples of all sources together, None when one is endless. With sources of different sizes,
    `size` draws are one pass over each only if the weights are proportional to the sizes.
    """

    size: int | None

    def __init__(self, sources: Sequence[ExampleSource], weights: Sequence[float], seed: int) -> None:
        """Raises ValueError when a weight is too small for a draw in BLOCK."""
        self._sources = tuple(sources)
        self._seed = seed
        self._draws = _apportion(weights, BLOCK)
        for number, draws in enumerate(self._draws):
            if draws == 0:
                raise ValueError(
                    f"data.{number}.weight: {weights[number]} is less than half a draw in {BLOCK} beside the "
                    "other sources' weights; give a larger one, or leave the source out"
                )
        sizes = [source.size for source in self._sources]
        self.size = None if None in sizes else sum(size for size in sizes if size is not None)
        self._block = lru_cache(maxsize=4)(self._make_block)
        self._order = lru_cache(maxsize=2 * len(self._sources))(self._make_order)

    def at(self, index: int) -> Example:
        """The example of draw `index`; IndexError below 0."""
        if index < 0:
            raise IndexError(f"index is {index}; draws are counted from 0")
        block, offset = divmod(index, BLOCK)
        number, before = self._block(block)[offset]
        rank = block * self._draws[number] + before
        source = self._sources[number]
        if source.size is None:
            return source.at(rank)
        epoch, position = divmod(rank, source.size)
        return source.at(self._order(number, epoch)[position])

    def _make_block(self, block: int) -> list[tuple[int, int]]:
        """For each draw of a block: its source, and how many draws of that source stand before it."""
        numbers = [number for number, draws in enumerate(self._draws) for _ in range(draws)]
        random.Random(f"mixture-{self._seed}-{block}").shuffle(numbers)
        counts = [0] * len(self._draws)
        placed = []
        for number in numbers:
            placed.append((number, counts[number]))
            counts[number] += 1
        return placed

    def _make_order(self, number: int, epoch: int) -> list[int]:
        order = list(range(self._sources[number].size or 0))
        random.Random(f"order-{self._seed}-{number}-{epoch}").shuffle(order)
        return order


def _apportion(weights: Sequence[float], seats: int) -> list[int]:
    """`seats` divided in proportion to the weights, by the method of largest remainder."""
    total = sum(weights)
    quotas = [weight / total * seats for weight in weights]
    shares = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(weights)), key=lambda number: (shares[number] - quotas[number], number))
    for number in by_remainder[: seats - sum(shares)]:
        shares[number] += 1
    return shares
