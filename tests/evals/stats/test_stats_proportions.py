"""Statistics against closed forms, published values and simulated coverage."""

import random
from math import sqrt
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.stats import clustered_proportion, wilson_interval


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_published(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


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


@pytest.mark.parametrize(("questions", "samples"), [(30, 1), (30, 4), (100, 8)])
def test_clustered_coverage(questions: int, samples: int) -> None:
    """Of questions with probability drawn from Beta(2, 1), the intervals hold 2/3 about 95 % of the time."""
    rng = random.Random(1)
    held, runs = 0, 600
    for _ in range(runs):
        clusters = {}
        for question in range(questions):
            p = rng.betavariate(2, 1)
            clusters[str(question)] = [float(rng.random() < p) for _ in range(samples)]
        estimate = clustered_proportion(clusters)
        assert estimate is not None
        held += estimate.low <= 2 / 3 <= estimate.high
    assert 0.925 <= held / runs <= 0.985
