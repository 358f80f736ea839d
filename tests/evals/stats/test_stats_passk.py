"""pass@k, G-Pass@k and votes against published code, scipy and enumeration of all subsets."""

from itertools import combinations
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evals.stats import g_pass_at_k, majority_at_k, mean_g_pass_at_k, pass_at_k, pass_hat_k


def humaneval_estimator(n: int, c: int, k: int) -> float:
    """As printed in Chen et al. (2021), figure 3."""
    if n - c < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(1, 80))
    return draw(st.integers(0, n)), n, draw(st.integers(1, n))


@settings(deadline=None)
@given(counts())
def test_pass_at_k_is_humanevals(drawn: tuple[int, int, int]) -> None:
    correct, n, k = drawn
    assert pass_at_k(correct, n, k) == pytest.approx(humaneval_estimator(n, correct, k), abs=1e-9)
    assert pass_at_k(correct, n, 1) == pytest.approx(correct / n)


@settings(deadline=None)
@given(counts(), st.floats(0, 1))
def test_g_pass_is_scipys_hypergeometric_tail(drawn: tuple[int, int, int], threshold: float) -> None:
    correct, n, k = drawn
    tail = stats.hypergeom(n, correct, k)
    needed = max(ceil(threshold * k - 1e-9), 1)
    assert g_pass_at_k(correct, n, k, threshold) == pytest.approx(tail.sf(needed - 1), abs=1e-9)
    assert g_pass_at_k(correct, n, k, 1.0) == pytest.approx(pass_hat_k(correct, n, k))
    assert g_pass_at_k(correct, n, k, 0.0) == pytest.approx(pass_at_k(correct, n, k))
    # The authors' code: 2 / k times the sum of tails from ceil(k / 2) + 1.
    mean = 2 * sum(tail.sf(i - 1) for i in range(ceil(k * 0.5) + 1, k + 1)) / k
    assert mean_g_pass_at_k(correct, n, k) == pytest.approx(mean, abs=1e-9)


def test_a_share_of_k_is_not_rounded_up() -> None:
    """0.7 * 10 exceeds 7 in floating point; seven right of ten still are 0.7."""
    assert g_pass_at_k(7, 10, 10, 0.7) == 1.0


RIGHT = st.integers(0, 4)


def vote(groups: tuple[int | None, ...], right: set[int]) -> float:
    votes = [group for group in groups if group is not None]
    if not votes:
        return 0.0
    most = max(map(votes.count, votes))
    best = {group for group in votes if votes.count(group) == most}
    return len(best & right) / len(best)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([None, 0, 1, 2, 3]), min_size=1, max_size=9),
    st.sets(st.integers(0, 4)),
    st.data(),
)
def test_majority_is_the_mean_over_all_subsets(
    groups: list[int | None], right: set[int], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(groups)))
    expected = np.mean([vote(subset, right) for subset in combinations(groups, k)])
    assert majority_at_k(groups, right, k) == pytest.approx(expected)


def test_ties_share_and_silence_has_no_vote() -> None:
    assert majority_at_k([0, 1], {0}, 2) == 0.5
    assert majority_at_k([0, None, None], {0}, 3) == 1.0
    assert majority_at_k([None, None], {0}, 2) == 0.0


def test_many_samples_are_drawn_near_the_exact_value() -> None:
    """One in three of 300 right, the rest split in two: by symmetry the vote is right a third of the time."""
    groups: list[int | None] = [0, 1, 2] * 100
    drawn = majority_at_k(groups, {0}, 5, seed=3)
    assert drawn == pytest.approx(1 / 3, abs=0.015)
    assert drawn == majority_at_k(groups, {0}, 5, seed=3)
    assert majority_at_k([None] * 200, {0}, 5) == 0.0


@pytest.mark.parametrize(("correct", "n", "k"), [(1, 4, 5), (5, 4, 2), (-1, 4, 2), (0, 4, 0)])
def test_bad_counts(correct: int, n: int, k: int) -> None:
    for estimate in (pass_at_k, pass_hat_k, mean_g_pass_at_k):
        with pytest.raises(ValueError, match=f"k: {k} of n={n}"):
            estimate(correct, n, k)
    with pytest.raises(ValueError, match="threshold"):
        g_pass_at_k(1, 4, 2, 1.5)
