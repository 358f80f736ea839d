"""What k of n samples of one question would do: pass@k, pass^k, G-Pass@k, maj@k."""

import math
from collections import Counter
from collections.abc import Sequence, Set
from functools import lru_cache

import numpy as np

_EXACT_SAMPLES = 128  # beyond, maj@k is drawn
_DRAWS = 20_000


def pass_at_k(correct: int, n: int, k: int) -> float:
    """Probability that at least one of k of the n samples is right: `1 - C(n-c, k)/C(n, k)`.

    Unbiased for the probability with k fresh samples (Chen et al. 2021, arXiv:2107.03374, equation 1).
    """
    _check(correct, n, k)
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


def pass_hat_k(correct: int, n: int, k: int) -> float:
    """Probability that all of k of the n samples are right, `C(c, k)/C(n, k)` (Yao, arXiv:2406.12045)."""
    _check(correct, n, k)
    return math.comb(correct, k) / math.comb(n, k)


def g_pass_at_k(correct: int, n: int, k: int, threshold: float) -> float:
    """G-Pass@k: probability that at least `max(ceil(threshold k), 1)` of k of the n samples are right.

    The upper tail of a hypergeometric distribution (Liu et al. 2024, arXiv:2412.13147, equation 3).
    """
    _check(correct, n, k)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: {threshold} is not a share of the k samples; give one from 0 to 1")
    # 0.7 * 10 is 7.000000000000001: not a reason to ask for 8.
    return _at_least(correct, n, k, max(math.ceil(threshold * k - 1e-9), 1))


def mean_g_pass_at_k(correct: int, n: int, k: int) -> float:
    """mG-Pass@k, G-Pass@k averaged over thresholds from 1/2 to 1 (arXiv:2412.13147, equation 5).

    `2/k * sum_{i = ceil(k/2) + 1}^{k} G-Pass@k_{i/k}`, the authors' Riemann sum; k = 1 has no terms and gives
    0.
    """
    _check(correct, n, k)
    return 2 / k * math.fsum(_at_least(correct, n, k, i) for i in range(math.ceil(k / 2) + 1, k + 1))


def majority_at_k(groups: Sequence[int | None], correct_groups: Set[int], k: int, seed: int = 0) -> float:
    """maj@k: expected share of a right answer in the vote of k of the samples.

    `groups` holds the equivalence class of each sample's answer, None where there is none, which has no vote.
    Largest groups that tie share the point equally; no vote at all scores 0. Exact over all k-subsets for up
    to 128 samples, by counting subsets in which a group of j votes is tied with t others and none is larger;
    beyond, the mean of 20,000 random subsets (Wang et al. 2022, arXiv:2203.11171, is the vote; the
    expectation over subsets is Brown et al. 2024's, arXiv:2407.21787, here without drawing).
    """
    n = len(groups)
    _check(0, n, k)
    if n > _EXACT_SAMPLES:
        return _drawn_majority(groups, correct_groups, k, seed)
    counts = Counter(group for group in groups if group is not None)
    right = tuple(sorted(count for group, count in counts.items() if group in correct_groups))
    wrong = tuple(sorted(count for group, count in counts.items() if group not in correct_groups))
    return _exact_majority(right, wrong, n - sum(counts.values()), k)


@lru_cache(maxsize=65_536)
def _exact_majority(right: tuple[int, ...], wrong: tuple[int, ...], silent: int, k: int) -> float:
    n = sum(right) + sum(wrong) + silent
    share = 0.0
    for index, size in enumerate(right):
        others = right[:index] + right[index + 1 :] + wrong
        for votes in range(1, min(size, k) + 1):
            subsets = _subsets_led(others, silent, votes, k - votes)
            tied = math.fsum(count / (ties + 1) for ties, count in enumerate(subsets))
            share += math.comb(size, votes) * tied / math.comb(n, k)
    return min(1.0, share)


def _subsets_led(others: tuple[int, ...], silent: int, votes: int, left: int) -> list[float]:
    """By number of ties: subsets of `left` samples in which no other group has more than `votes`."""
    ways = [[float(math.comb(silent, taken)) for taken in range(left + 1)]]
    for size in others:
        grown = [[0.0] * (left + 1) for _ in range(len(ways) + 1)]
        choices = [math.comb(size, taken) for taken in range(min(size, votes, left) + 1)]
        for ties, row in enumerate(ways):
            for base, count in enumerate(row):
                if count:
                    for taken, choice in enumerate(choices[: left + 1 - base]):
                        grown[ties + (taken == votes)][base + taken] += count * choice
        ways = grown if any(grown[-1]) else grown[:-1]
    return [row[left] for row in ways]


def _drawn_majority(groups: Sequence[int | None], correct_groups: Set[int], k: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    labels = sorted({group for group in groups if group is not None})
    if not labels:
        return 0.0
    column = {label: i for i, label in enumerate(labels)}
    votes = np.zeros((len(groups), len(labels)))
    for row, group in enumerate(groups):
        if group is not None:
            votes[row, column[group]] = 1
    right = np.array([label in correct_groups for label in labels])
    # Each row draws k of the samples without replacement.
    taken = np.zeros((_DRAWS, len(groups)))
    np.put_along_axis(taken, rng.random(taken.shape).argpartition(k - 1, axis=1)[:, :k], 1.0, axis=1)
    counts = taken @ votes
    best = (counts == counts.max(axis=1, keepdims=True)) & (counts > 0)
    return float(((best & right).sum(axis=1) / np.maximum(best.sum(axis=1), 1)).mean())


def _at_least(correct: int, n: int, k: int, needed: int) -> float:
    """P(Hypergeometric(n, correct, k) >= needed)."""
    ways = sum(
        math.comb(correct, i) * math.comb(n - correct, k - i) for i in range(needed, min(correct, k) + 1)
    )
    return ways / math.comb(n, k)


def _check(correct: int, n: int, k: int) -> None:
    if not (0 <= correct <= n and 1 <= k <= n):
        raise ValueError(
            f"k: {k} of n={n} samples, {correct} right; 1 <= k <= n and 0 <= correct <= n are right"
        )
