"""What seeds say of a number that each of them gives once."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

Interval = dict[str, float]


def seed_interval(values: Sequence[float]) -> Interval:
    """`mean`, and Student's 95 % limits `low` and `high` for other seeds; raises ValueError below two."""
    if len(values) < 2:
        raise ValueError(f"values: {len(values)}; give those of two seeds or more")
    half = float(stdtrit(len(values) - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    mean = float(np.mean(values))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def clear(interval: Interval) -> bool:
    """Whether the interval is clear of zero."""
    return interval["low"] > 0 or interval["high"] < 0
