"""Intervals and paired differences for accuracies, as pure functions.

Questions, not samples, are the independent units: several samples of one question are a cluster.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean


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
    z = NormalDist().inv_cdf(0.5 + _confidence(confidence) / 2)
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
    se = _clustered_se(values, p)
    if questions == n:
        effective = float(n)
    elif se is None or se == 0.0:
        effective = float(questions)
    else:
        simple = p * (1 - p) / (n - 1)
        quantile = 0.5 + _confidence(confidence) / 2
        ratio = student_t_quantile(quantile, n - 1) / student_t_quantile(quantile, questions - 1)
        effective = min(float(n), n * simple / se**2 * ratio**2)
    low, high = wilson_interval(p * effective, effective, confidence)
    return Estimate(n, questions, p, se, low, high)


def paired_difference(
    first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]], confidence: float = 0.95
) -> Estimate | None:
    """Mean of `second - first` over the questions both hold, with a Student t interval.

    Each question gives one difference of its means, d_q; SE = sd(d_q)/sqrt(n) with n-1 degrees of freedom.
    Pairing by question removes the questions' difficulty from the variance (Miller 2024,
    arXiv:2411.00640, section 4.2). Conservative use needs n of about 30 or more. None without a common
    question; with one only, the interval is the whole range [-1, 1].
    """
    common = [q for q in first if q in second and len(first[q]) and len(second[q])]
    if not common:
        return None
    differences = [fmean(second[q]) - fmean(first[q]) for q in common]
    mean = fmean(differences)
    se = _clustered_se([[d] for d in differences], mean)
    if se is None:
        low, high = -1.0, 1.0
    else:
        half = student_t_quantile(0.5 + _confidence(confidence) / 2, len(common) - 1) * se
        low, high = max(-1.0, mean - half), min(1.0, mean + half)
    return Estimate(len(common), len(common), mean, se, low, high)


def student_t_quantile(probability: float, degrees: float) -> float:
    """Quantile of Student's t distribution, by bisection of its distribution function.

    Raises ValueError unless 0 < probability < 1 and degrees >= 1.
    """
    if not (0 < probability < 1 and degrees >= 1):
        raise ValueError(
            f"probability: {probability} with {degrees} degrees of freedom; needs (0, 1) and >= 1"
        )
    if probability < 0.5:
        return -student_t_quantile(1 - probability, degrees)
    low, high = 0.0, 1.0
    while _student_t_cdf(high, degrees) < probability:
        low, high = high, high * 2
    while high - low > 1e-12 * (1 + high):
        middle = (low + high) / 2
        if _student_t_cdf(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _clustered_se(values: Sequence[Sequence[float]], mean: float) -> float | None:
    clusters, n = len(values), sum(map(len, values))
    if clusters < 2:
        return None
    squares = math.fsum(math.fsum(y - mean for y in cluster) ** 2 for cluster in values)
    return math.sqrt(clusters / (clusters - 1) * squares) / n


def _confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} is not between 0 and 1; 0.95 is usual")
    return confidence


def _student_t_cdf(t: float, degrees: float) -> float:
    """P(T <= t) for t >= 0 (Abramowitz and Stegun 26.7.1)."""
    return 1 - 0.5 * _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function by its continued fraction (Numerical Recipes, section 6.4)."""
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1 / max(1 - (a + b) * x / (a + 1), tiny)
    fraction = d
    for m in range(1, 500):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + step * d or tiny)
            c = 1 + step / c or tiny
            fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return front * fraction / a
