"""Shares of right answers with intervals that know which samples belong to one question."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri


@dataclass(frozen=True, slots=True)
class Estimate:
    """A point estimate with its interval; `n` samples in `questions` questions.

    `se` is the standard error, clustered by question; None with fewer than two questions.
    """

    n: int
    questions: int
    mean: float
    se: float | None
    low: float
    high: float


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion; `successes` and `n` may be effective, non-integer counts.

    E. B. Wilson (1927), "Probable inference, the law of succession, and statistical inference",
    JASA 22. At n = 30 its exact coverage at p = 0.05, 0.5, 0.95 is 93.9, 95.7, 93.9 %; that of Jeffreys',
    the mid-p, Clopper and Pearson's and Agresti and Coull's intervals at p = 0.05 is 98.4 %.
    Raises ValueError unless 0 <= successes <= n and n > 0.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"successes: {successes} of n={n}; 0 <= successes <= n and n > 0 are right")
    z = normal_quantile(confidence)
    low, high = wilson_limits(successes / n, n, n, z)
    return float(low), float(high)


def clustered_proportion(
    clusters: Mapping[str, Sequence[float]], confidence: float = 0.95
) -> Estimate | None:
    """Share of ones among values in [0, 1] grouped by question, with Wilson limits at effective sizes.

    The standard error is that of a ratio estimator over C clusters of N values in all,
    `C/(C-1) * sum_q (sum_i (y_qi - p))^2 / N^2` (Miller 2024, arXiv:2411.00640, with the usual small-sample
    factor). For the limits see `effective_sizes`. None without values.
    """
    values = [cluster for cluster in clusters.values() if len(cluster)]
    if not values:
        return None
    sizes = np.array([len(cluster) for cluster in values], dtype=float)
    sums = np.array([math.fsum(cluster) for cluster in values])
    return _proportion(sums, sizes, int(sizes.sum()), confidence)


def mean_of_questions(values: Sequence[float | None], confidence: float = 0.95) -> Estimate | None:
    """Mean over questions of one score in [0, 1] each (pass@k, maj@k), limits as in `clustered_proportion`.

    None and NaN are questions without a score. Returns None without any score.
    """
    scores = np.array([value for value in values if value is not None], dtype=float)
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return None
    return _proportion(scores, np.ones(len(scores)), math.inf, confidence)


def decoding_interval(
    clusters: Mapping[str, Sequence[float]], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Interval for the accuracy on these very questions, were they sampled for ever: decoding noise only.

    Wilson's at the effective size `p (1 - p) / V` with `V = sum_q n_q^2/N^2 * p_q (1 - p_q) / (n_q - 1)`, the
    unbiased variance of a mean over fixed strata (Cochran 1977, "Sampling techniques", equation 5.7). V is at
    most that of N independent samples of one probability, hence the effective size is at least N, which also
    serves when V is zero. None unless every question has at least two samples.
    """
    values = [np.asarray(cluster, dtype=float) for cluster in clusters.values() if len(cluster)]
    if not values or min(map(len, values)) < 2:
        return None
    n = sum(map(len, values))
    mean = math.fsum(float(v.sum()) for v in values) / n
    variance = math.fsum(len(v) ** 2 * float(v.var()) / (len(v) - 1) for v in values) / n**2
    size = max(float(n), mean * (1 - mean) / variance) if variance > 0 else float(n)
    low, high = wilson_limits(mean, size, size, normal_quantile(confidence))
    return float(low), float(high)


def effective_sizes(
    sums: NDArray[np.float64], sizes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Effective numbers of independent values behind the lower and the upper limit of a clustered share.

    `sums` and `sizes` have the shape [questions] or [questions, columns]: sum and number of the values in
    [0, 1] of each question. The effective size is Bernoulli's variance p (1 - p) over the variance of the
    share (Korn and Graubard 1998, Survey Methodology 24). A variance estimated from few questions is too
    small just when the share is too extreme, as the questions that would have shown it are absent. So the
    variance of the lower limit counts half a question more, that is always wrong, and that of the upper limit
    half a question that is always right: the prior of Jeffreys' interval, as base measure of a Dirichlet
    process over questions (Ferguson 1973, Annals of Statistics 1; its limit without prior is the Bayesian
    bootstrap of Rubin 1981). With one value a question both sizes are the number of questions, which gives
    Wilson's interval exactly; k copies of each value give the same. One question alone counts as one value.
    """
    count = (sizes > 0).sum(axis=0)
    total = sizes.sum(axis=0)
    if np.ndim(count) == 0 and count < 2:
        return np.ones(()), np.ones(())
    # The size of the question that a random value is from, and how many of that size make the total.
    usual = (sizes**2).sum(axis=0) / np.maximum(total, 1)
    alike = total / np.maximum(usual, 1)
    both = []
    for extra in (0.0, 1.0):
        weight = total + usual / 2
        p = (sums.sum(axis=0) + usual / 2 * extra) / np.where(weight > 0, weight, 1)
        squares = ((sums - sizes * p) ** 2).sum(axis=0) + usual**2 / 2 * (extra - p) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.where(squares > 0, alike * (alike + 0.5) * usual**2 * p * (1 - p) / squares, alike)
        both.append(np.where(count < 2, 1.0, size))
    return both[0], both[1]


def wilson_limits(
    mean: ArrayLike, low_size: ArrayLike, high_size: ArrayLike, z: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's limits of shares at given effective sizes and normal quantile, elementwise."""
    p = np.asarray(mean, dtype=float)
    limits = []
    for size, sign in ((np.asarray(low_size, dtype=float), -1), (np.asarray(high_size, dtype=float), 1)):
        centre = (p + z * z / (2 * size)) / (1 + z * z / size)
        half = z / (1 + z * z / size) * np.sqrt(p * (1 - p) / size + z * z / (4 * size * size))
        limits.append(centre + sign * half)
    # The limits enclose the share; at 0 and 1 subtraction would leave rounding noise.
    low = np.where(p <= 0, 0.0, np.clip(limits[0], 0.0, p))
    high = np.where(p >= 1, 1.0, np.clip(limits[1], p, 1.0))
    return low, high


def normal_quantile(confidence: float) -> float:
    """Two-sided quantile of the standard normal distribution; raises ValueError unless 0 < confidence < 1."""
    return float(ndtri(two_sided(confidence)))


def two_sided(confidence: float) -> float:
    """Probability below the upper limit of a symmetric interval; ValueError unless 0 < confidence < 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} is not between 0 and 1; 0.95 is usual")
    return 0.5 + confidence / 2


def _proportion(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], most: float, confidence: float
) -> Estimate:
    """The estimate; `most` is the largest effective size that the number of values allows."""
    questions, n = len(sizes), float(sizes.sum())
    p = min(1.0, max(0.0, math.fsum(sums) / n))
    se = None
    if questions > 1:
        se = math.sqrt(questions / (questions - 1) * math.fsum((sums - sizes * p) ** 2)) / n
    low_size, high_size = effective_sizes(sums, sizes)
    low, high = wilson_limits(
        p, np.minimum(low_size, most), np.minimum(high_size, most), normal_quantile(confidence)
    )
    return Estimate(int(n), questions, p, se, float(low), float(high))
