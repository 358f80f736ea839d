"""Quantiles of times, with distribution-free intervals."""

import math
from collections.abc import Sequence

from scipy.stats import binom

from evals.stats.proportions import two_sided


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that a share `q` of all do not exceed (inverted empirical distribution).

    Raises ValueError without values, or unless 0 < q <= 1.
    """
    if not values or not 0 < q <= 1:
        raise ValueError(f"q: {q} of {len(values)} values; give values, and 0 < q <= 1")
    return sorted(values)[math.ceil(q * len(values)) - 1]


def quantile_interval(values: Sequence[float], q: float, confidence: float = 0.95) -> tuple[float, float]:
    """Order statistics that hold the quantile of the distribution with at least `confidence`.

    The number of values below a quantile is binomial (David and Nagaraja 2003, "Order statistics", section
    7.1); exact for independent values. Successive times under load are not independent, so that the interval
    is too narrow for them. Where there are too few values it ends at the least or the largest.
    """
    ordered, n = sorted(values), len(values)
    tail = 1 - two_sided(confidence)
    low = int(binom.ppf(tail, n, q))
    high = int(binom.ppf(1 - tail, n, q)) + 1
    return ordered[max(0, low - 1)], ordered[min(n, high) - 1]
