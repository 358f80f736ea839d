"""Shares and their intervals against closed forms, published values and exact coverage."""

from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.bench.coverage import exact_wilson_coverage
from evals.stats import clustered_proportion, decoding_interval, mean_of_questions, wilson_interval


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_published(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@settings(deadline=None)
@given(st.integers(1, 500), st.data())
def test_wilson_bounds_solve_the_score_equation(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    z = NormalDist().inv_cdf(0.975)
    for bound in wilson_interval(successes, n):
        if 0 < bound < 1:
            assert abs(successes / n - bound) == pytest.approx(z * sqrt(bound * (1 - bound) / n), abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_bad_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(successes, n)


def test_one_sample_a_question_is_wilson() -> None:
    estimate = clustered_proportion({str(i): [float(i < 30)] for i in range(100)})
    assert estimate is not None
    assert (estimate.low, estimate.high) == pytest.approx(wilson_interval(30, 100))
    assert estimate.se == pytest.approx(sqrt(0.3 * 0.7 / 99))


def test_equal_samples_count_once() -> None:
    """k copies of each question's answer say no more than one."""
    once = {str(i): [float(i < 30)] for i in range(100)}
    copies = clustered_proportion({q: y * 8 for q, y in once.items()})
    single = clustered_proportion(once)
    assert copies is not None
    assert single is not None
    assert copies.se == pytest.approx(single.se)
    assert (copies.low, copies.high) == pytest.approx((single.low, single.high), abs=0.003)
    assert copies.high - copies.low >= single.high - single.low


def test_degenerate_clusters() -> None:
    assert clustered_proportion({}) is None
    assert clustered_proportion({"a": []}) is None
    one = clustered_proportion({"a": [1, 0, 1]})
    assert one is not None
    assert one.se is None
    assert (one.low, one.high) == pytest.approx(wilson_interval(2 / 3, 1))
    all_right = clustered_proportion({str(i): [1.0] * 4 for i in range(20)})
    assert all_right is not None
    assert (all_right.low, all_right.high) == pytest.approx(wilson_interval(20, 20))


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), max_size=5), min_size=1, max_size=8))
def test_any_clusters(values: list[list[float]]) -> None:
    """The interval holds the estimate, and is no narrower than that of independent samples."""
    estimate = clustered_proportion({str(i): cluster for i, cluster in enumerate(values)})
    n = sum(map(len, values))
    if estimate is None:
        assert n == 0
        return
    assert 0 <= estimate.low <= estimate.mean <= estimate.high <= 1
    low, high = wilson_interval(sum(map(sum, values)), n)
    assert estimate.high - estimate.low >= high - low - 1e-9


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), min_size=2, max_size=12), st.integers(2, 5))
def test_standard_error_is_the_ratio_estimators(cells: list[tuple[int, int]], copies: int) -> None:
    """Against the linearised variance of a ratio of totals (Cochran 1977, equation 6.9), and under copies."""
    cells = [(min(right, n), n) for right, n in cells]
    clusters = {str(i): [1.0] * right + [0.0] * (n - right) for i, (right, n) in enumerate(cells)}
    estimate = clustered_proportion(clusters)
    assert estimate is not None
    right, size = np.array(cells, dtype=float).T
    residual = right - estimate.mean * size
    linearised = sqrt(residual.var(ddof=1) / len(cells)) / size.mean()
    assert estimate.se == pytest.approx(linearised, abs=1e-12)
    again = clustered_proportion({q: y * copies for q, y in clusters.items()})
    assert again is not None
    assert again.se == pytest.approx(estimate.se, abs=1e-12)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
def test_wilson_coverage_is_exact(p: float) -> None:
    """Summed over the binomial distribution, n = 30: 93.9, 95.7 and 93.9 %."""
    assert 0.93 <= exact_wilson_coverage(30, p) <= 0.97


def test_the_hidden_questions_are_allowed_for() -> None:
    """One question of 30 with one right sample of 8 says no more about the others than none with any."""
    clusters = {str(i): [0.0] * 8 for i in range(30)}
    none = clustered_proportion(clusters)
    little = clustered_proportion(clusters | {"0": [1.0] + [0.0] * 7})
    assert none is not None
    assert little is not None
    assert none.high == pytest.approx(wilson_interval(0, 30)[1])
    assert 0.7 * none.high <= little.high <= 1.1 * none.high


def test_mean_of_questions_is_the_share_of_single_samples() -> None:
    values = [1.0, 0.0, None, 1.0, 0.5, float("nan")]
    estimate = mean_of_questions(values)
    assert estimate is not None
    assert (estimate.n, estimate.questions, estimate.mean) == (4, 4, 0.625)
    assert estimate.se == pytest.approx(np.std([1, 0, 1, 0.5], ddof=1) / 2)
    assert mean_of_questions([None]) is None
    single = mean_of_questions([1.0] * 7 + [0.0] * 3)
    assert single is not None
    assert (single.low, single.high) == pytest.approx(wilson_interval(7, 10))


def test_decoding_interval_is_wilsons_for_equal_questions_and_none_for_settled_ones() -> None:
    """Its variance is that of stratified sampling; it never is wider than that of independent samples."""
    mixed = {str(i): [1.0, 0.0] * 4 for i in range(10)}
    low, high = decoding_interval(mixed) or (0, 0)
    size = 0.25 / (0.25 * 8 / 7 / 80)  # p (1 - p) over the variance of 10 means of 8
    assert (low, high) == pytest.approx(wilson_interval(0.5 * 80, 80))
    assert size < 80
    settled = {str(i): [float(i < 5)] * 8 for i in range(10)} | {"x": [1.0] * 7 + [0.0]}
    low, high = decoding_interval(settled) or (0, 1)
    whole = clustered_proportion(settled)
    assert whole is not None
    assert low <= whole.mean <= high
    assert high - low < 0.1 * (whole.high - whole.low)
    assert decoding_interval({"a": [1, 0], "b": [1]}) is None
    assert decoding_interval({}) is None
