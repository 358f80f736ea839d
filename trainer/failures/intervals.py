"""Intervals for statistics of problems and training seeds, both samples of many: a bootstrap of both."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Draw = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Places of problems and of seeds, with repetitions."""
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % limits; NaN is nowhere in it."""

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        return {"mean": self.mean, "low": self.low, "high": self.high}


def draws_of(problems: int, seeds: int, draws: int = DRAWS, seed: int = 0) -> list[Draw]:
    """Resamples of problems and seeds, each apart from the other (Owen 2007, "The pigeonhole bootstrap").

    Of k problems or seeds k - 1 are drawn, which makes the variance of a mean unbiased (McCarthy and Snowden
    1985); with three seeds the plain bootstrap's would be a third too small. Raises ValueError below two.
    """
    for name, count in (("problems", problems), ("seeds", seeds)):
        if count < 2:
            raise ValueError(f"{name}: {count}; give two or more, as one says nothing of others")
    rng = np.random.default_rng(seed)
    return [
        (rng.integers(0, problems, problems - 1), rng.integers(0, seeds, seeds - 1)) for _ in range(draws)
    ]


def bootstrap(statistic: Callable[[Draw], Array], problems: int, seeds: int, draws: int = DRAWS) -> "Band":
    """The statistic, any shape, of the data as they are, and its percentile limits over resamples."""
    whole = statistic((np.arange(problems), np.arange(seeds)))
    many = np.stack([statistic(draw) for draw in draws_of(problems, seeds, draws)])
    # Around the estimate: percentiles of a statistic such as a calibration error, which noise raises, are
    # moved by as much as resampling moved their middle.
    low, middle, high = np.quantile(many, (0.025, 0.5, 0.975), axis=0)
    return Band(whole, whole + low - middle, whole + high - middle)


@dataclass(frozen=True, slots=True)
class Band:
    """Estimates with 95 % limits, all of one shape."""

    mean: Array
    low: Array
    high: Array

    def at(self, *place: int) -> Interval:
        """One of them."""
        return Interval(float(self.mean[place]), float(self.low[place]), float(self.high[place]))

    def along(self, place: int) -> dict[str, list[float]]:
        """Of [steps, numbers] one number at every step, as JSON values."""
        return {
            "mean": self.mean[:, place].tolist(),
            "low": self.low[:, place].tolist(),
            "high": self.high[:, place].tolist(),
        }


def mean_band(values: Array) -> Band:
    """Means of [problems, seeds, ...] over problems and seeds."""
    return bootstrap(lambda draw: values[draw[0]][:, draw[1]].mean((0, 1)), *values.shape[:2])
