"""Curves, areas and bands against scipy, closed forms and enumeration."""

from math import log2, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize

from evals.stats import (
    area_difference,
    area_estimate,
    area_under_curve,
    clustered_proportion,
    curve_bands,
    difference_bands,
    flip_rate,
    log_axis,
    monotone,
    paired_difference,
)
from evals.stats.curve import resampled_means

SHARES = st.lists(st.integers(0, 4).map(lambda x: x / 4), min_size=3, max_size=3)
MATRICES = st.lists(SHARES, min_size=2, max_size=12).map(np.array)


def made(questions: int, samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.binomial(samples, np.linspace(0.1, 0.9, 6), (questions, 6)) / samples


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1)), min_size=2, max_size=12))
def test_area_is_numpys_trapezoid_over_the_width(steps: list[tuple[float, float]]) -> None:
    x = np.cumsum([step for step, _ in steps])
    y = [height for _, height in steps]
    expected = integrate.trapezoid(y, x) / (x[-1] - x[0])
    assert area_under_curve(x.tolist(), y) == pytest.approx(expected, abs=1e-9)


def test_area_needs_a_rising_grid() -> None:
    for x in ([1.0], [1.0, 1.0], [2.0, 1.0]):
        with pytest.raises(ValueError, match="x"):
            area_under_curve(x, [0.5] * len(x))
    with pytest.raises(ValueError, match="y"):
        area_under_curve([1, 2], [0.5])


def test_log_axis_counts_doublings() -> None:
    assert log_axis([0, 256, 512, 2048]) == [7, 8, 9, 11]
    assert log_axis([100]) == [log2(100)]
    for budgets in ([0.0], [-1.0, 4.0]):
        with pytest.raises(ValueError, match="budgets"):
            log_axis(budgets)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 5)), max_size=15))
def test_monotone_is_scipys_isotonic_regression(points: list[tuple[float, float]]) -> None:
    y, weights = [p[0] for p in points], [p[1] for p in points]
    if not points:
        assert monotone(y) == []
        return
    reference = optimize.isotonic_regression(y, weights=weights).x
    assert monotone(y, weights) == pytest.approx(reference.tolist(), abs=1e-9)
    with pytest.raises(ValueError, match="weights"):
        monotone(y, [0.0] * len(y))


def test_flip_rate_counts_traces_that_lose_their_answer() -> None:
    nan = float("nan")
    rows = [[0, 1, 1], [1, 0, 1], [1, nan, 0], [0, 0, 0], [1, nan, nan], [0, nan, 1]]
    assert flip_rate(rows) == 2 / 5  # of five rows with two values, the second and the third
    assert flip_rate([[1.0, nan]]) is None


@settings(deadline=None, max_examples=50)
@given(MATRICES)
def test_points_of_a_curve_are_shares_of_questions(matrix: np.ndarray) -> None:
    """One column is the clustered share of whole questions; the band holds the limits, and they the mean."""
    bands = curve_bands(matrix, draws=50)
    for column in range(3):
        share = clustered_proportion({str(i): [value] for i, value in enumerate(matrix[:, column])})
        mean, low, high = bands.mean[column], bands.low[column], bands.high[column]
        band_low, band_high = bands.band_low[column], bands.band_high[column]
        assert share is not None
        assert None not in (mean, low, high, band_low, band_high)
        assert mean == pytest.approx(share.mean)
        assert 0 <= band_low <= low <= mean <= high <= band_high <= 1  # type: ignore[operator]
        # A share of single values is capped at as many values as questions; means of samples know more.
        if set(np.unique(matrix[:, column])) <= {0.0, 1.0}:
            assert (low, high) == pytest.approx((share.low, share.high))


def test_the_band_of_equal_columns_is_the_pointwise_interval_and_of_independent_ones_sidaks() -> None:
    """sup-t adapts to how alike the points are."""
    column = made(400, 4)[:, [2]]
    same = curve_bands(np.repeat(column, 6, axis=1), draws=4000)
    assert same.critical == pytest.approx(1.96, abs=0.1)
    apart = curve_bands(np.random.default_rng(0).binomial(4, 0.5, (400, 6)) / 4, draws=4000)
    assert apart.critical == pytest.approx(2.631, abs=0.1)  # normal quantile of (1 + 0.95^(1/6)) / 2


def test_the_bootstrap_is_the_multinomial_one() -> None:
    """Means of resamples have the mean of the data, its variance over n (with n in the sum), and a seed."""
    values = made(40, 3)
    draws = np.concatenate(list(resampled_means(values, 20_000, seed=1)))
    sd = values.std(axis=0) / sqrt(40)
    assert draws.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=0.03 * sd.max())
    assert draws.std(axis=0) == pytest.approx(sd, rel=0.03)
    expected = np.corrcoef(values.T)
    assert np.corrcoef(draws.T) == pytest.approx(expected, abs=0.04)
    assert np.array_equal(draws, np.concatenate(list(resampled_means(values, 20_000, seed=1))))
    missing = np.where(np.random.default_rng(0).random(values.shape) < 0.3, np.nan, values)
    draws = np.concatenate(list(resampled_means(missing, 5000, seed=1)))
    assert np.nanmean(draws, axis=0) == pytest.approx(np.nanmean(missing, axis=0), abs=0.01)


def test_missing_cells_and_empty_columns() -> None:
    nan = float("nan")
    bands = curve_bands([[1.0, nan, nan], [0.0, 0.5, nan], [1.0, nan, nan]], draws=200)
    assert bands.questions == [3, 1, 0]
    assert bands.mean == [pytest.approx(2 / 3), 0.5, None]
    assert bands.low[2] is bands.high[2] is bands.band_low[2] is bands.band_high[2] is None
    lone = curve_bands([[1.0, 0.0]])
    assert lone.low[0] == pytest.approx(clustered_proportion({"a": [1.0]}).low)  # type: ignore[union-attr]
    for wrong in ([1.0], [[1.5]], np.empty((0, 3))):
        with pytest.raises(ValueError, match="matrix"):
            curve_bands(wrong)


def test_certain_columns_keep_their_room() -> None:
    """All right at a budget is no proof that every question would be."""
    bands = curve_bands(np.ones((30, 4)))
    assert bands.mean == [1.0] * 4
    assert all(low is not None and 0.85 < low < 0.9 for low in bands.low)


def test_area_is_the_mean_of_each_questions_area() -> None:
    values, x = made(30, 4), [0.0, 1, 2, 4, 5, 9]
    estimate = area_estimate(values, x)
    own = [area_under_curve(x, row.tolist()) for row in values]
    assert estimate is not None
    assert estimate.mean == pytest.approx(np.mean(own))
    assert estimate.se == pytest.approx(np.std(own, ddof=1) / sqrt(30))
    assert estimate.mean == pytest.approx(area_under_curve(x, values.mean(axis=0).tolist()))


def test_area_with_missing_cells_has_the_bootstraps_error() -> None:
    values, x = made(200, 4), [0.0, 1, 2, 4, 5, 9]
    values[np.random.default_rng(1).random(values.shape) < 0.25] = np.nan
    estimate = area_estimate(values, x)
    draws = [
        area_under_curve(x, curve.tolist())
        for curve in np.concatenate(list(resampled_means(values, 4000, seed=0)))
    ]
    assert estimate is not None
    assert estimate.mean == pytest.approx(area_under_curve(x, np.nanmean(values, axis=0).tolist()))
    assert estimate.se == pytest.approx(np.std(draws), rel=0.05)
    values[:, 3] = np.nan
    assert area_estimate(values, x) is None


def test_differences_of_curves_are_paired_differences() -> None:
    """Column by column as from single samples, and for areas as from each question's own."""
    a, b = made(30, 1), made(30, 1, seed=1)
    bands = difference_bands(a, b, draws=300)
    for column in range(6):
        pair = paired_difference(
            {str(i): [value] for i, value in enumerate(a[:, column])},
            {str(i): [value] for i, value in enumerate(b[:, column])},
        )
        assert pair is not None
        assert bands.mean[column] == pytest.approx(pair.mean)
        assert (bands.low[column], bands.high[column]) == pytest.approx((pair.low, pair.high))
        assert bands.band_low[column] <= pair.low <= pair.high <= bands.band_high[column]  # type: ignore[operator]
    x = [0.0, 1, 2, 3, 4, 5]
    area = area_difference(a, b, x)
    own = [area_under_curve(x, row.tolist()) for row in b - a]
    assert area is not None
    assert area.mean == pytest.approx(np.mean(own))
    assert area.se == pytest.approx(np.std(own, ddof=1) / sqrt(30))
    assert area.low < area.mean < area.high
    with pytest.raises(ValueError, match="second"):
        difference_bands(a, b[:20])
    lone = area_difference(a[:1], b[:1], x)
    assert lone is not None
    assert (lone.low, lone.high, lone.se) == (-1.0, 1.0, None)
