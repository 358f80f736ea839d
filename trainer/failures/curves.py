"""The replies of all points as arrays: for each problem, seed and step of an arm, some numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.failures.arms import START, Arms, Point
from trainer.failures.intervals import Band, bootstrap
from trainer.failures.replies import Reply

Array = NDArray[np.float64]
Numbers = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured. replies: of each point's name, those of each problem together, in one order."""

    arms: Arms
    points: Sequence[Point]
    replies: Mapping[str, Sequence[Reply]]

    def steps(self, arm: str) -> list[int]:
        """The steps an arm is measured after; 0 is the start."""
        return [0, *sorted({point.step for point in self.points if point.arm == arm})]

    def by_problem(self, arm: str, seed: int, step: int) -> list[list[Reply]]:
        """Replies of a checkpoint, a list for each problem, in the order of the problems."""
        name = Point(START, 0, 0, self.arms.start).name
        if step:
            name = next(p.name for p in self.points if (p.arm, p.seed, p.step) == (arm, seed, step))
        grouped: dict[str, list[Reply]] = {}
        for reply in self.replies[name]:
            grouped.setdefault(reply.problem, []).append(reply)
        return list(grouped.values())

    def curve(self, arm: str, numbers_of: Callable[[Sequence[Reply]], Sequence[float]]) -> Array:
        """`numbers_of` a problem's replies, [problems, seeds, steps, numbers]."""
        return np.array(
            [
                [
                    [numbers_of(replies) for replies in self.by_problem(arm, seed, step)]
                    for step in self.steps(arm)
                ]
                for seed in self.arms.seeds
            ],
            dtype=float,
        ).transpose(2, 0, 1, 3)


def change(values: Array, first: int, last: int) -> Band:
    """Mean of `last` less `first` along the steps of [problems, seeds, steps, numbers]; [numbers]."""
    return bootstrap(
        lambda draw: (
            values[draw[0]][:, draw[1]][:, :, last] - values[draw[0]][:, draw[1]][:, :, first]
        ).mean((0, 1)),
        *values.shape[:2],
    )
