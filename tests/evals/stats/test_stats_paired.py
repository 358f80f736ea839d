"""Paired differences and tests against closed forms, scipy and enumeration."""

from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtri

from evals.stats import (
    benjamini_hochberg,
    holm,
    mcnemar_exact,
    minimum_detectable_effect,
    paired_difference,
    sign_flip_test,
)


def test_paired_difference_closed_form() -> None:
    """McNemar's table: 7 wins, 1 loss of 30."""
    first = {str(i): [float(i == 29)] for i in range(30)}
    second = {str(i): [float(i < 7)] for i in range(30)}
    estimate = paired_difference(first, second)
    assert estimate is not None
    assert estimate.mean == pytest.approx(0.2)
    assert estimate.se == pytest.approx(0.088, abs=5e-4)
    half = float(ndtri(0.975)) * sqrt((10 / 32 - 0.1875**2) / 32)  # Bonett and Price
    assert (estimate.low, estimate.high) == pytest.approx((0.1875 - half, 0.1875 + half))


def test_paired_difference_uses_common_questions() -> None:
    estimate = paired_difference({"a": [0], "b": [0, 1], "c": [1]}, {"a": [1], "b": [1, 1], "d": [0]})
    assert estimate is not None
    assert (estimate.n, estimate.mean) == (2, 0.75)
    assert paired_difference({"a": [1]}, {"b": [1]}) is None
    alone = paired_difference({"a": [1]}, {"a": [0]})
    assert alone is not None
    assert (alone.mean, alone.se, alone.low, alone.high) == (-1.0, None, -1.0, 1.0)


def test_equal_runs_do_not_prove_equality() -> None:
    """30 questions alike leave room for the difference that 3 in 30 would hide."""
    same = {str(i): [1.0] for i in range(30)}
    estimate = paired_difference(same, same)
    assert estimate is not None
    assert estimate.mean == 0
    assert 0.05 < estimate.high < 0.1
    assert estimate.low == -estimate.high


def test_paired_difference_of_many_samples_is_students() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, (2, 40, 64)).astype(float)
    estimate = paired_difference(dict(enumerate_names(first)), dict(enumerate_names(second)))
    assert estimate is not None
    reference = stats.ttest_rel(second.mean(axis=1), first.mean(axis=1)).confidence_interval(0.95)
    assert estimate.low == pytest.approx(reference.low, abs=2e-4)
    assert estimate.high == pytest.approx(reference.high, abs=2e-4)
    assert estimate.low < reference.low
    assert estimate.high > reference.high


def enumerate_names(rows: np.ndarray) -> list[tuple[str, list[float]]]:
    return [(str(i), row.tolist()) for i, row in enumerate(rows)]


@settings(deadline=None)
@given(st.lists(st.sampled_from([-1.0, -0.25, 0.0, 0.25, 0.5]), min_size=1, max_size=9))
def test_sign_flips_are_scipys_exact_permutations(differences: list[float]) -> None:
    reference = (
        stats.permutation_test(
            (differences,),
            lambda d, axis: np.sum(d, axis=axis),
            permutation_type="samples",
            n_resamples=np.inf,
        )
        if any(differences) and len(differences) > 1
        else None
    )
    p = sign_flip_test(differences)
    if reference is not None:
        assert p == pytest.approx(reference.pvalue)
    elif not any(differences):
        assert p == 1.0
    else:
        assert p == 1.0  # one difference has two signs, as extreme


def test_drawn_sign_flips_are_near_the_exact_binomial() -> None:
    """Of 40 equal steps, 30 up: the sign test. The same seed gives the same value."""
    differences = [1.0] * 30 + [-1.0] * 10 + [0.0] * 100
    exact = stats.binomtest(30, 40).pvalue
    p = sign_flip_test(differences, permutations=40_000)
    assert p == pytest.approx(exact, abs=4 * sqrt(exact / 40_000))
    assert p == sign_flip_test(differences, permutations=40_000)
    assert sign_flip_test([0.5] * 100, permutations=999) == 1 / 1000
    for wrong in ([], [0.5, float("nan")]):
        with pytest.raises(ValueError, match="differences"):
            sign_flip_test(wrong)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_test(b: int, c: int) -> None:
    reference = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(reference)


P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@settings(deadline=None)
@given(P_VALUES)
def test_holm_rejects_as_the_closed_test_does(p_values: list[float]) -> None:
    """The adjusted value is the largest Bonferroni value over all sets of hypotheses that hold this one."""
    adjusted = holm(p_values)
    indices = range(len(p_values))
    sets = [s for size in indices for s in combinations(indices, size + 1)]
    for i in indices:
        closed = max(min(1.0, len(s) * min(p_values[j] for j in s)) for s in sets if i in s)
        assert adjusted[i] == pytest.approx(closed)


@settings(deadline=None)
@given(P_VALUES)
def test_benjamini_hochberg_is_scipys(p_values: list[float]) -> None:
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values))


def test_adjusting_bad_values() -> None:
    assert holm([]) == benjamini_hochberg([]) == []
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match="p_values"):
            adjust([0.5, float("nan")])


def test_minimum_detectable_effect_has_the_power() -> None:
    """A t test meets the effect in four of five simulated runs."""
    effect = minimum_detectable_effect(1 / sqrt(30), 29)
    rng = np.random.default_rng(0)
    runs = rng.normal(effect, 1.0, (20_000, 30))
    found = (stats.ttest_1samp(runs, 0.0, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.015)
    assert minimum_detectable_effect(1.0, None) == pytest.approx(2.8016, abs=1e-4)
    with pytest.raises(ValueError, match="power"):
        minimum_detectable_effect(1.0, 29, power=1.0)
