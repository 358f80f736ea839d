"""Entropies against scipy, closed forms and known bounds."""

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evals.stats import (
    answer_entropy,
    clustered_proportion,
    forking_threshold,
    mean_entropy,
    token_entropies,
    token_entropy,
)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=30), st.data())
def test_top_k_is_a_lower_bound_that_all_of_the_vocabulary_meets(
    weights: list[float], data: st.DataObject
) -> None:
    p = np.sort(np.array(weights) / sum(weights))[::-1]
    k = data.draw(st.integers(1, len(p)))
    nats, rest = token_entropy(np.log(p[:k]).tolist())
    whole = stats.entropy(p)
    assert nats <= whole + 1e-9
    assert rest == pytest.approx(p[k:].sum(), abs=1e-9)
    # What the rest hides is at most its mass times the entropy of an even spread.
    assert whole <= nats + rest * log(max(1, len(p) - k)) + 1e-9
    assert token_entropy(np.log(p).tolist())[0] == pytest.approx(whole)


def test_token_entropies_of_many() -> None:
    nats, rest = token_entropies([[0.0, -np.inf], [log(0.5), log(0.25)]])
    assert nats == pytest.approx([0.0, 1.5 * log(2)])
    assert rest == pytest.approx([0.0, 0.25])
    assert token_entropy([]) == (0.0, 1.0)
    with pytest.raises(ValueError, match="sum to 2"):
        token_entropy([0.0, 0.0])
    with pytest.raises(ValueError, match="NaN"):
        token_entropy([float("nan")])


def test_forking_tokens_are_the_top_share() -> None:
    entropies = np.random.default_rng(0).permutation(100) / 100
    threshold = forking_threshold(entropies)
    assert threshold is not None
    assert (entropies >= threshold).sum() == 20
    assert forking_threshold([]) is None
    with pytest.raises(ValueError, match="share"):
        forking_threshold([0.1], 1.0)


@settings(deadline=None)
@given(st.lists(st.sampled_from([None, 0, 1, 2, 3]), max_size=30))
def test_answer_entropy_is_that_of_the_shares(groups: list[int | None]) -> None:
    answered = [group for group in groups if group is not None]
    entropy = answer_entropy(groups)
    if not answered:
        assert entropy is None
        return
    counts = np.unique(answered, return_counts=True)[1]
    assert entropy == pytest.approx(stats.entropy(counts))
    assert entropy is not None
    assert 0 <= entropy <= log(len(answered)) + 1e-12


def test_miller_and_madow_remove_most_of_the_bias() -> None:
    rng = np.random.default_rng(0)
    p = [0.4, 0.3, 0.2, 0.1]
    drawn = [rng.choice(4, 16, p=p).tolist() for _ in range(3000)]
    plain = np.mean([answer_entropy(groups) for groups in drawn])  # type: ignore[misc]
    corrected = np.mean([answer_entropy(groups, miller_madow=True) for groups in drawn])  # type: ignore[misc]
    truth = float(stats.entropy(p))
    assert plain < truth - 0.05
    assert corrected == pytest.approx(truth, abs=0.02)


def test_mean_entropy_is_a_scaled_share() -> None:
    """Of 20 questions, 5 whose two samples differ: a share of 1/4 in units of log 2."""
    estimate = mean_entropy([log(2)] * 5 + [0.0] * 15 + [None], samples=2)
    share = clustered_proportion({str(i): [float(i < 5)] for i in range(20)})
    assert estimate is not None
    assert share is not None
    assert (estimate.n, estimate.mean) == (20, pytest.approx(log(2) / 4))
    assert (estimate.low, estimate.high) == pytest.approx((share.low * log(2), share.high * log(2)))
    assert estimate.se == pytest.approx(log(2) * (share.se or 0))
    agreed = mean_entropy([0.0] * 20, samples=8)
    assert agreed is not None
    assert agreed.mean == agreed.low == 0.0
    assert agreed.high > 0.1
    assert mean_entropy([None], samples=8) is mean_entropy([0.0], samples=1) is None
    with pytest.raises(ValueError, match="entropies"):
        mean_entropy([3.0], samples=8)
