"""Entropy of next tokens and of answers, in nats."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evals.stats.proportions import Estimate, effective_sizes, normal_quantile, wilson_limits


def token_entropy(top_logprobs: Sequence[float]) -> tuple[float, float]:
    """Entropy of one next token from its largest log-probabilities, and the probability mass they leave out.

    `-sum_i p_i log p_i - r log r` with the rest r = 1 - sum_i p_i as one bucket: a lower bound of the entropy
    over the vocabulary, as merging outcomes never raises entropy (Cover and Thomas 2006, "Elements of
    information theory", section 2.2). Raises ValueError if the probabilities exceed 1.
    """
    nats, rest = token_entropies([list(top_logprobs)])
    return float(nats[0]), float(rest[0])


def token_entropies(top_logprobs: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`token_entropy` of many tokens [tokens, k]; -inf fills rows that have fewer."""
    logprobs = np.asarray(top_logprobs, dtype=float)
    if logprobs.ndim != 2 or bool(np.isnan(logprobs).any()):
        raise ValueError(f"top_logprobs: shape {logprobs.shape} or NaN; give numbers of shape [tokens, k]")
    p = np.exp(logprobs)
    sums = p.sum(axis=1)
    if bool((sums > 1 + 1e-3).any()):
        raise ValueError(f"top_logprobs: probabilities sum to {float(sums.max()):.4g}; at most 1 is right")
    rest = np.clip(1 - sums, 0.0, 1.0)
    return _plogp(p).sum(axis=1) + _plogp(rest), rest


def forking_threshold(entropies: ArrayLike, share: float = 0.2) -> float | None:
    """Entropy at and above which the `share` of tokens with the highest entropy lies; None without tokens.

    "Forking tokens" are the top fifth by entropy (Wang et al. 2025, arXiv:2506.01939). Raises ValueError
    unless 0 < share < 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share: {share} is not between 0 and 1; 0.2 is usual")
    values = np.asarray(entropies, dtype=float)
    return float(np.quantile(values, 1 - share, method="higher")) if values.size else None


def answer_entropy(groups: Sequence[int | None], miller_madow: bool = False) -> float | None:
    """Semantic entropy of one question's samples, `-sum_g p_g log p_g` over shares of equivalent answers.

    The count version of Farquhar et al. (2024, Nature 630, "Discrete semantic entropy"), with the grader as
    the equivalence. None marks a sample without an answer, which is left out; None is returned if none has
    one. Of n samples it is at most log n, and too low by about (groups - 1)/(2n), which `miller_madow` adds
    (Miller 1955, "Note on the bias of information estimates").
    """
    counts = np.array(list(Counter(group for group in groups if group is not None).values()), dtype=float)
    if not counts.size:
        return None
    n = counts.sum()
    correction = (len(counts) - 1) / (2 * n) if miller_madow else 0.0
    return float(_plogp(counts / n).sum()) + correction


def mean_entropy(
    entropies: Sequence[float | None], samples: int, confidence: float = 0.95
) -> Estimate | None:
    """Mean over questions of the entropies of `samples` answers each, with limits from 0 to log(samples).

    Divided by their largest value log(samples) they are scores in [0, 1], with the limits of
    `clustered_proportion`. None without a known entropy or with fewer than two samples.
    """
    if samples < 2:
        return None
    most = math.log(samples)
    known = np.array([value for value in entropies if value is not None], dtype=float)
    if not known.size:
        return None
    if known.min() < 0 or known.max() > most + 1e-9:
        raise ValueError(
            f"entropies: {known.min():.4g} to {known.max():.4g} nats; {samples} samples have 0 to {most:.4g}"
        )
    scores = np.minimum(known / most, 1.0)
    n = len(scores)
    low, high = wilson_limits(
        scores.mean(), *effective_sizes(scores, np.ones(n)), normal_quantile(confidence)
    )
    se = float(known.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    return Estimate(n, n, float(known.mean()), se, float(low) * most, float(high) * most)


def _plogp(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """-p log p, 0 at 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, -p * np.log(p), 0.0) + 0.0
