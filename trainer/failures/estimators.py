"""Unbiased estimates from a fixed number of samples of each problem: best of n, and distinct among m."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def best_of_n(proxy: ArrayLike, value: ArrayLike, n: int) -> Array:
    """Expected `value` of the sample that `proxy` likes best among n drawn without replacement; [...].

    proxy, value: [..., N], of N samples of each problem, n <= N. With samples in ascending order of the
    proxy, the i-th is the best of n in C(i-1, n-1) of the C(N, n) subsets (Nakano et al. 2021, WebGPT,
    arXiv:2112.09332, appendix I, which Gao et al. 2023 use). Samples that tie are the best equally often.
    value = proxy gives the expected proxy.
    """
    scores, values = np.broadcast_arrays(np.asarray(proxy, dtype=float), np.asarray(value, dtype=float))
    samples = scores.shape[-1]
    if not 1 <= n <= samples:
        raise ValueError(f"n: {n} is wrong because there are {samples} samples; give 1 to {samples}")
    weights = np.array([math.comb(i, n - 1) / math.comb(samples, n) for i in range(samples)])
    # The subsets whose best proxy is at most a sample's: ties share what their ranks have together.
    below = np.concatenate([[0.0], np.cumsum(weights)])
    ordered = np.sort(scores, axis=-1)
    flat, sorted_flat = scores.reshape(-1, samples), ordered.reshape(-1, samples)
    share = np.empty_like(flat)
    for row, (mine, ranks) in enumerate(zip(flat, sorted_flat, strict=True)):
        first = np.searchsorted(ranks, mine, "left")
        last = np.searchsorted(ranks, mine, "right")
        share[row] = (below[last] - below[first]) / (last - first)
    return (share.reshape(scores.shape) * values).sum(-1)


def best_of_n_kl(n: int) -> float:
    """KL of best-of-n from the policy it samples, `log n - (n - 1)/n` nats (Gao et al. 2023, section 2).

    Exact where no two replies tie, else an upper bound (Beirami et al. 2024, arXiv:2401.01879).
    """
    return math.log(n) - (n - 1) / n


def expected_distinct(groups: Sequence[Hashable], draws: int) -> float | None:
    """Expected number of distinct groups among `draws` samples drawn without replacement.

    `sum_g 1 - C(N - N_g, m)/C(N, m)` (rarefaction; Hurlbert 1971, Ecology 52): comparable for different N.
    None where there are fewer samples than draws.
    """
    total = len(groups)
    if draws > total:
        return None
    ways = math.comb(total, draws)
    return sum(1 - math.comb(total - count, draws) / ways for count in Counter(groups).values())
