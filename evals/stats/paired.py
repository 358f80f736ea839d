"""Differences between two runs on the same questions."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from scipy.special import stdtrit

from evals.stats.proportions import Estimate, check_confidence, clustered_se


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
    se = clustered_se([[d] for d in differences], mean)
    if se is None:
        low, high = -1.0, 1.0
    else:
        half = float(stdtrit(len(common) - 1, 0.5 + check_confidence(confidence) / 2)) * se
        low, high = max(-1.0, mean - half), min(1.0, mean + half)
    return Estimate(len(common), len(common), mean, se, low, high)
