"""Shares of right answers with intervals that know which samples belong to one question.

Questions, not samples, are the independent units: several samples of one question are a cluster.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import ndtri, stdtrit


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
    JASA 22. Raises ValueError unless 0 <= successes <= n and n > 0.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"successes: {successes} of n={n}; 0 <= successes <= n and n > 0 are right")
    z = float(ndtri(0.5 + check_confidence(confidence) / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends the bound is exactly the proportion; subtraction would leave rounding noise there.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def clustered_proportion(
    clusters: Mapping[str, Sequence[float]], confidence: float = 0.95
) -> Estimate | None:
    """Share of ones among 0/1 values grouped by question, with a Wilson interval at the effective n.

    The variance is that of a ratio estimator over C clusters of N values in all,
    `C/(C-1) * sum_q (sum_i (y_qi - p))^2 / N^2` (Miller 2024, arXiv:2411.00640, with the usual small-sample
    factor). The effective sample size is N over the design effect, times the squared ratio of Student's
    t quantiles with N-1 and C-1 degrees of freedom, at most N (Korn and Graubard 1998, "Confidence
    intervals for proportions with small expected number of positive counts estimated from survey data",
    Survey Methodology 24). With one value per question this is Wilson's interval exactly. When every value
    is equal the clusters say nothing about their correlation, and each question counts once.
    None without values.
    """
    values = [list(cluster) for cluster in clusters.values() if len(cluster)]
    n, questions = sum(map(len, values)), len(values)
    if n == 0:
        return None
    p = math.fsum(map(math.fsum, values)) / n
    se = clustered_se(values, p)
    if questions == n:
        effective = float(n)
    elif se is None or se == 0.0:
        effective = float(questions)
    else:
        simple = p * (1 - p) / (n - 1)
        quantile = 0.5 + check_confidence(confidence) / 2
        ratio = float(stdtrit(n - 1, quantile) / stdtrit(questions - 1, quantile))
        effective = min(float(n), n * simple / se**2 * ratio**2)
    low, high = wilson_interval(p * effective, effective, confidence)
    return Estimate(n, questions, p, se, low, high)


def clustered_se(values: Sequence[Sequence[float]], mean: float) -> float | None:
    """Standard error of a mean over clusters of values; None with fewer than two clusters."""
    clusters, n = len(values), sum(map(len, values))
    if clusters < 2:
        return None
    squares = math.fsum(math.fsum(y - mean for y in cluster) ** 2 for cluster in values)
    return math.sqrt(clusters / (clusters - 1) * squares) / n


def check_confidence(confidence: float) -> float:
    """The confidence level itself; raises ValueError unless it is between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} is not between 0 and 1; 0.95 is usual")
    return confidence
