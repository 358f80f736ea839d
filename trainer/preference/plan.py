"""Which pairs each optimizer step trains on: a function of the step, the same on every process."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from trainer.preference.pairs import Pair
from trainer.recipe.stages import DPO
from trainer.seeds import derive_rng
from trainer.sft.plan import divide


def pair_steps(stage: DPO, pairs: int) -> int:
    """Optimizer steps of a stage with so many pairs."""
    return stage.steps or math.ceil(pairs * (stage.epochs or 0) / stage.batch_pairs)


@dataclass(frozen=True, slots=True)
class PairShare:
    """What one process does in one step: pairs by number, in micro-batches as many as other processes'.

    weight: the sum of the step's pairs' weights, on all processes. tokens: padding included, likewise.
    """

    micro_batches: list[list[int]]
    weight: float
    tokens: int


class PairPlan:
    """The steps of a stage; each pass over the pairs takes them in another order. steps: how many."""

    def __init__(self, pairs: Sequence[Pair], stage: DPO, seed: int, processes: int = 1) -> None:
        self._pairs, self._stage, self._seed, self._processes = pairs, stage, seed, processes
        self.steps = pair_steps(stage, len(pairs))
        self._order = lru_cache(maxsize=2)(self._make_order)

    def share(self, step: int, process: int = 0) -> PairShare:
        """What `process` trains on in `step`, counted from 0."""
        first = step * self._stage.batch_pairs
        drawn = [self._pair(place) for place in range(first, first + self._stage.batch_pairs)]
        drawn.sort(key=lambda number: self._pairs[number].length)
        # Both replies of a pair are padded to the longest.
        lengths = [2 * self._pairs[number].length for number in drawn]
        parts = divide(lengths, self._stage.micro_batch_tokens, self._processes)
        return PairShare(
            [drawn[begin:end] for begin, end in parts][process :: self._processes],
            weight=sum(self._pairs[number].weight for number in drawn),
            tokens=sum(max(lengths[begin:end], default=0) * (end - begin) for begin, end in parts),
        )

    def _pair(self, place: int) -> int:
        epoch, rest = divmod(place, len(self._pairs))
        return self._order(epoch)[rest]

    def _make_order(self, epoch: int) -> list[int]:
        order = list(range(len(self._pairs)))
        derive_rng(self._seed, self._stage.name, "pairs", epoch).shuffle(order)
        return order
