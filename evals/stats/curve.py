"""Accuracy as a function of budget: bands, areas, differences of two curves, monotone fit.

A curve is a matrix [questions, budgets] of each question's mean score in [0, 1]; NaN where a cell is missing.
Points of one curve share questions (and, forked, their traces), so whole questions are resampled, never
points.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evals.stats.paired import difference_limits
from evals.stats.proportions import Estimate, effective_sizes, normal_quantile, two_sided, wilson_limits

Matrix = NDArray[np.float64]

_CHUNK = 1 << 19  # question weights held at once; more would leave the cache


@dataclass(frozen=True, slots=True)
class CurveBands:
    """A curve with pointwise limits `low`, `high` and the simultaneous band `band_low`, `band_high`.

    One value a budget; None where no question has a value. `critical` is the normal quantile's place in the
    simultaneous band.
    """

    questions: list[int]
    mean: list[float | None]
    low: list[float | None]
    high: list[float | None]
    band_low: list[float | None]
    band_high: list[float | None]
    critical: float


def curve_bands(matrix: ArrayLike, confidence: float = 0.95, draws: int = 2000, seed: int = 0) -> CurveBands:
    """Mean accuracy at each budget with pointwise limits and a band that holds the whole curve.

    Both have the form of `clustered_proportion`, over question means: Wilson's limits at effective sizes,
    with the normal quantile pointwise, and with the quantile of the largest standardised deviation over
    budgets, sup_b |m*_b - m_b| / sd(m*_b) in a bootstrap of questions, for the band (Montiel Olea and
    Plagborg-Moller 2019, Journal of Applied Econometrics 34, "sup-t").
    """
    values = curve_matrix(matrix)
    z = normal_quantile(confidence)
    present = ~np.isnan(values)
    sums, sizes = np.where(present, values, 0.0), present.astype(float)
    counts = present.sum(axis=0)
    critical = sup_t(values, confidence, draws, seed)
    with np.errstate(invalid="ignore"):
        mean = sums.sum(axis=0) / counts
    low_size, high_size = effective_sizes(sums, sizes)
    low, high = wilson_limits(mean, low_size, high_size, z)
    band_low, band_high = wilson_limits(mean, low_size, high_size, critical)
    return CurveBands(
        counts.tolist(), known(mean), known(low), known(high), known(band_low), known(band_high), critical
    )


def difference_bands(
    first: ArrayLike, second: ArrayLike, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> CurveBands:
    """`second - first` at each budget, paired by question (row), with pointwise limits and a band.

    Limits are those of `difference_limits`; the band is a sup-t band as in `curve_bands`. Raises ValueError
    unless the shapes agree.
    """
    a, b = _pair(first, second)
    differences = b - a
    z = normal_quantile(confidence)
    critical = sup_t(differences, confidence, draws, seed)
    present = ~np.isnan(differences)
    counts = present.sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = np.where(present, differences, 0.0).sum(axis=0) / counts
    step = score_step(a, b)
    low, high = (np.where(counts, x, np.nan) for x in difference_limits(differences, step, z))
    band_low, band_high = (
        np.where(counts, x, np.nan) for x in difference_limits(differences, step, critical)
    )
    return CurveBands(
        counts.tolist(), known(mean), known(low), known(high), known(band_low), known(band_high), critical
    )


def log_axis(budgets: Sequence[float]) -> list[float]:
    """Places of token budgets on an axis for areas: log2(budget), and 0 one doubling below the smallest.

    Raises ValueError for negative budgets or none above 0.
    """
    positive = [budget for budget in budgets if budget > 0]
    if not positive or min(budgets) < 0:
        raise ValueError(f"budgets: {list(budgets)} need one above 0 and none below; give tokens")
    zero = math.log2(min(positive)) - 1
    return [math.log2(budget) if budget else zero for budget in budgets]


def area_under_curve(x: Sequence[float], y: Sequence[float]) -> float:
    """Area under the points by the trapezoid rule, on x scaled to [0, 1]: the mean height of the curve.

    It depends on the grid and the scale of x; report both. Raises ValueError unless x rises strictly and has
    as many values as y, at least two.
    """
    weights = trapezoid_weights(x)
    if len(y) != len(weights):
        raise ValueError(f"y: {len(y)} values for {len(weights)} of x; give as many")
    return float(weights @ np.asarray(y, dtype=float))


def area_estimate(matrix: ArrayLike, x: Sequence[float], confidence: float = 0.95) -> Estimate | None:
    """Area under the mean curve with an interval over questions.

    The area is linear in the curve, hence the mean over questions of each one's own area, a score in [0, 1],
    and the limits are those of `clustered_proportion`. With missing cells a question's area is the overall
    area plus its weighted deviations from the curve (the influence function). None if a budget has no value.
    """
    areas = _areas(curve_matrix(matrix), trapezoid_weights(x))
    if areas is None:
        return None
    n, mean = len(areas), float(areas.mean())
    low_size, high_size = effective_sizes(areas, np.ones(n))
    low, high = wilson_limits(mean, low_size, high_size, normal_quantile(confidence))
    se = float(areas.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    return Estimate(n, n, mean, se, float(low), float(high))


def area_difference(
    first: ArrayLike, second: ArrayLike, x: Sequence[float], confidence: float = 0.95
) -> Estimate | None:
    """Area under `second` less that under `first`, paired by question (row), with Student's t.

    None without a question that has a value in both at each budget's column. With one question the limits are
    -1 and 1. Raises ValueError unless the shapes agree.
    """
    a, b = _pair(first, second)
    weights = trapezoid_weights(x)
    areas = _areas(b - a, weights)
    if areas is None:
        return None
    n, mean = len(areas), float(areas.mean())
    # The least change is that of one sample at the budget that weighs least.
    step = score_step(a, b) * float(weights.min())
    low, high = difference_limits(areas[:, None], step, normal_quantile(confidence))
    se = float(areas.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    return Estimate(n, n, mean, se, float(low[0]), float(high[0]))


def monotone(y: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Non-decreasing curve nearest to y in weighted least squares, by pooling adjacent violators.

    Ayer et al. (1955), Annals of Mathematical Statistics 26. A line to draw, not an estimate to report: the
    true curve may fall. Raises ValueError unless weights are positive and as many as y.
    """
    w = [1.0] * len(y) if weights is None else list(weights)
    if len(w) != len(y) or any(weight <= 0 for weight in w):
        raise ValueError(f"weights: {w} for {len(y)} values of y; give one above 0 for each")
    pools: list[tuple[float, float, int]] = []  # mean, weight, length
    for value, weight in zip(y, w, strict=True):
        mean, length = float(value), 1
        while pools and pools[-1][0] >= mean:
            before, heavy, long = pools.pop()
            mean = (before * heavy + mean * weight) / (heavy + weight)
            weight, length = heavy + weight, long + length
        pools.append((mean, weight, length))
    return [mean for mean, _, length in pools for _ in range(length)]


def flip_rate(correct: ArrayLike) -> float | None:
    """Share of traces (rows of 0/1 over rising budgets) right at one budget and wrong at a larger one.

    Where it is not near 0, "the smallest budget that solves a question" is not well defined. NaN cells are
    skipped; None without a row of two values.
    """
    values = np.asarray(correct, dtype=float)
    if values.ndim != 2:
        raise ValueError(f"correct: {values.ndim} dimensions; give [traces, budgets]")
    present = ~np.isnan(values)
    right_before = np.maximum.accumulate(np.where(present, values, 0.0), axis=1)
    flipped = (present & (values < right_before)).any(axis=1)
    usable = present.sum(axis=1) >= 2
    return float(flipped[usable].mean()) if usable.any() else None


def sup_t(values: Matrix, confidence: float, draws: int, seed: int, upward: bool = False) -> float:
    """Critical value of a simultaneous band: a quantile of the largest standardised deviation over columns.

    Deviations are those of bootstrap means, over their own standard deviation. With `upward` only positive
    ones count and the quantile is that of one side of a two-sided interval. At least the normal quantile,
    which is that of one column.
    """
    z = normal_quantile(confidence)
    values = values[:, ~np.isnan(values).all(axis=0)]
    if len(values) < 2 or not values.shape[1]:
        return z
    means = np.concatenate(list(resampled_means(values, draws, seed)))
    spread = np.nanstd(means, axis=0)
    moving = spread > 1e-12
    if not moving.any():
        return z
    deviations = (means - np.nanmean(means, axis=0))[:, moving] / spread[moving]
    deviations[np.isnan(deviations)] = 0.0  # a draw without a value in a column says nothing about it
    if upward:
        return max(z, float(np.quantile(deviations.max(axis=1), two_sided(confidence))))
    return max(z, float(np.quantile(np.abs(deviations).max(axis=1), confidence)))


def resampled_means(values: Matrix, draws: int, seed: int) -> Iterator[Matrix]:
    """Column means under bootstrap samples of rows, in chunks [some draws, columns]; NaN cells do not count.

    A column that a bootstrap sample leaves without a value is NaN in that draw.
    """
    rng = np.random.default_rng(seed)
    n = len(values)
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    narrow = filled.astype(np.float32)
    complete = bool(present.all())
    left = draws
    while left:
        rows = min(left, max(1, _CHUNK // n))
        places = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        weights = np.bincount(places.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float32)
        if complete:
            yield (weights @ narrow).astype(float) / n
        else:
            with np.errstate(invalid="ignore"):
                yield (weights @ narrow).astype(float) / (weights @ present.astype(np.float32))
        left -= rows


def trapezoid_weights(x: Sequence[float]) -> Matrix:
    """Weights w with `w @ y` the trapezoid rule on x scaled to [0, 1]; ValueError unless x rises strictly."""
    places = np.asarray(x, dtype=float)
    steps = np.diff(places)
    if len(places) < 2 or not bool((steps > 0).all()):
        raise ValueError(f"x: {list(x)} does not rise strictly over two places or more")
    weights = np.zeros(len(places))
    weights[:-1] += steps / 2
    weights[1:] += steps / 2
    return weights / (places[-1] - places[0])


def curve_matrix(matrix: ArrayLike) -> Matrix:
    """The matrix as floats; ValueError unless it is [questions, budgets] with values in [0, 1] or NaN."""
    values = np.asarray(matrix, dtype=float)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"matrix: shape {values.shape}; give [questions, budgets], each at least 1")
    if bool(((values < 0) | (values > 1)).any()):
        raise ValueError("matrix: a score is outside 0 to 1; give each question's mean score, NaN if missing")
    return values


def known(values: NDArray[np.float64]) -> list[float | None]:
    """The values as floats, None for NaN."""
    return [None if math.isnan(value) else float(value) for value in values]


def score_step(*matrices: Matrix) -> float:
    """The least change of a score that the matrices show: 1 for single samples, 1/k for means of k."""
    scores = np.concatenate([matrix.ravel() for matrix in matrices])
    gaps = np.minimum(scores, 1 - scores)
    gaps = gaps[gaps > 1e-9]
    return float(gaps.min()) if len(gaps) else 1.0


def _areas(values: Matrix, weights: Matrix) -> Matrix | None:
    """Each question's area: its own, or the overall one plus its weighted deviations if cells are missing."""
    if values.shape[1] != len(weights):
        raise ValueError(f"x: {len(weights)} places for {values.shape[1]} budgets; give as many")
    present = ~np.isnan(values)
    counts = present.sum(axis=0)
    if not counts.all():
        return None
    rows = present.any(axis=1)
    present, values = present[rows], values[rows]
    filled = np.where(present, values, 0.0)
    mean = filled.sum(axis=0) / counts
    deviations = np.where(present, values - mean, 0.0) * (len(values) / counts)
    return float(weights @ mean) + deviations @ weights


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[Matrix, Matrix]:
    a, b = curve_matrix(first), curve_matrix(second)
    if a.shape != b.shape:
        raise ValueError(f"second: shape {b.shape}, first has {a.shape}; give the same questions and budgets")
    return a, b
