"""The ROC area and risk-coverage against scipy and enumeration."""

from itertools import pairwise, permutations
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evals.stats import auroc, risk_coverage

SAMPLES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=25)


@settings(deadline=None)
@given(SAMPLES)
def test_auroc_is_mann_whitney(samples: list[tuple[int, bool]]) -> None:
    right = [s for s, y in samples if y]
    wrong = [s for s, y in samples if not y]
    estimate = auroc([s for s, _ in samples], [y for _, y in samples])
    if not (right and wrong):
        assert estimate is None
        return
    assert estimate is not None
    u = stats.mannwhitneyu(right, wrong).statistic
    assert estimate.mean == pytest.approx(u / (len(right) * len(wrong)))
    assert 0 <= estimate.low <= estimate.mean <= estimate.high <= 1


def test_its_error_is_the_jackknifes_by_leaving_questions_out() -> None:
    rng = np.random.default_rng(0)
    questions = rng.integers(0, 12, 80)
    correct = rng.random(80) < 0.5
    score = np.round(correct + rng.normal(size=80), 1)
    estimate = auroc(score, correct, questions.tolist())
    areas = []
    for question in range(12):
        kept = questions != question
        without = auroc(score[kept], correct[kept])
        assert without is not None
        areas.append(without.mean)
    assert estimate is not None
    assert estimate.questions == 12
    assert estimate.se == pytest.approx(sqrt(11 / 12 * ((np.array(areas) - np.mean(areas)) ** 2).sum()))


def test_its_error_is_hanley_and_mcneils_for_independent_normal_scores() -> None:
    """Their variance (Radiology 143, 1982) with Q1 and Q2 of two normal distributions."""
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.normal(1, 1, 400), rng.normal(0, 1, 600)])
    estimate = auroc(score, [1] * 400 + [0] * 600)
    assert estimate is not None
    area = float(stats.norm.cdf(1 / sqrt(2)))
    both = stats.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]]).cdf([1 / sqrt(2)] * 2)
    variance = (area * (1 - area) + 399 * (both - area**2) + 599 * (both - area**2)) / (400 * 600)
    assert estimate.se == pytest.approx(sqrt(variance), rel=0.1)
    assert estimate.mean == pytest.approx(area, abs=4 * sqrt(variance))


def test_copies_of_samples_add_nothing() -> None:
    rng = np.random.default_rng(0)
    correct = rng.random(40) < 0.5
    score = correct + rng.normal(size=40)
    once = auroc(score, correct)
    copies = auroc(np.tile(score, 5), np.tile(correct, 5), list(range(40)) * 5)
    assert once is not None
    assert copies is not None
    assert copies.se == pytest.approx(once.se)
    assert (copies.low, copies.high) == pytest.approx((once.low, once.high))


def test_perfect_order_leaves_room() -> None:
    perfect = auroc([0.9, 0.8, 0.7, 0.2, 0.1], [1, 1, 1, 0, 0])
    assert perfect is not None
    assert (perfect.mean, perfect.high) == (1.0, 1.0)
    assert perfect.low < 0.5  # two wrong answers
    one_question = auroc([0.9, 0.1, 0.3], [1, 0, 1], ["q"] * 3)
    assert one_question is not None
    assert one_question.se is None
    assert one_question.high - one_question.low > 0.7
    for score, correct in (([float("nan")], [1]), ([0.1, 0.2], [1])):
        with pytest.raises(ValueError, match="score"):
            auroc(score, correct)
        with pytest.raises(ValueError, match="score"):
            risk_coverage(score, correct)
    with pytest.raises(ValueError, match="questions"):
        auroc([0.1, 0.2], [1, 0], ["a"])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
def test_risk_coverage_is_the_mean_over_orders_of_ties(samples: list[tuple[int, bool]]) -> None:
    found = risk_coverage([s for s, _ in samples], [y for _, y in samples])
    assert found is not None
    orders = [o for o in permutations(samples) if all(a[0] >= b[0] for a, b in pairwise(o))]
    taken = np.arange(1, len(samples) + 1)
    risks = np.mean([np.cumsum([not y for _, y in order]) / taken for order in orders], axis=0)
    assert found.area == pytest.approx(risks.mean())
    for coverage, risk in zip(found.coverage, found.risk, strict=True):
        assert risk == pytest.approx(risks[round(coverage * len(samples)) - 1])
    assert found.coverage[-1] == 1
    assert found.risk[-1] == pytest.approx(np.mean([not y for _, y in samples]))


def test_excess_of_a_perfect_order_is_none() -> None:
    perfect = risk_coverage([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0])
    worst = risk_coverage([0.1, 0.3, 0.8, 0.9], [1, 1, 0, 0])
    assert perfect is not None
    assert worst is not None
    assert perfect.excess == 0
    assert worst.excess == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4 - (0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert risk_coverage([], []) is None
