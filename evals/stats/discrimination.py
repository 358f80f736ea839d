"""Do confidences tell right answers from wrong ones? The ROC area by question, risk against coverage."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evals.stats.proportions import Estimate, normal_quantile, wilson_limits


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Share of wrong answers (`risk`) among the samples of at least each confidence (`coverage` of all).

    `area` is the mean risk over coverages 1/N, 2/N, ..., 1, `excess` its part that a perfect order would
    save.
    """

    coverage: list[float]
    risk: list[float]
    area: float
    excess: float


def auroc(
    score: ArrayLike,
    correct: ArrayLike,
    questions: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> Estimate | None:
    """P(score of a right answer > that of a wrong one) + P(equal)/2, with an interval clustered by question.

    The variance sums each question's structural components, `C/(C-1) * sum_q (sum_i (V_i - A)/M + sum_j
    (W_j - A)/N)^2` over its right answers i of M and wrong answers j of N, where V_i is the share of wrong
    answers below answer i and W_j that of right answers above j (Obuchowski 1997, Biometrics 53, from DeLong
    1988). The limits are Wilson's at the effective size A (1 - A)/variance, at most three times the number of
    questions with the rarer outcome (Newcombe 2006, Statistics in Medicine 25, compares score-like limits of
    this area). `score` may be any number, not only a probability; without `questions` each sample is one.
    None without a right and a wrong answer.
    """
    s, y = np.asarray(score, dtype=float), np.asarray(correct, dtype=float)
    if s.ndim != 1 or s.shape != y.shape or bool(np.isnan(s).any()) or not bool(np.isin(y, (0, 1)).all()):
        raise ValueError(f"score, correct: shapes {s.shape} and {y.shape}; give a number and 0 or 1 a sample")
    labels = list(range(len(s)) if questions is None else questions)
    if len(labels) != len(s):
        raise ValueError(f"questions: {len(labels)} for {len(s)} samples; give one each")
    right, wrong = np.sort(s[y == 1]), np.sort(s[y == 0])
    if not (right.size and wrong.size):
        return None
    number = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    question = np.array([number[label] for label in labels])
    component = np.where(y == 1, _share_below(s, wrong), 1 - _share_below(s, right))
    area = float(component[y == 1].mean())
    scaled = (component - area) / np.where(y == 1, right.size, wrong.size)
    clusters = len(number)
    influence = np.bincount(question, weights=scaled, minlength=clusters)
    variance = clusters / max(clusters - 1, 1) * float((influence**2).sum())
    rarer = min(len(np.unique(question[y == 1])), len(np.unique(question[y == 0])))
    size = float(rarer)
    if variance > 0 and 0 < area < 1:
        size = min(area * (1 - area) / variance, 3.0 * rarer)
    low, high = wilson_limits(area, size, size, normal_quantile(confidence))
    se = math.sqrt(variance) if clusters > 1 else None
    return Estimate(len(s), clusters, area, se, float(low), float(high))


def risk_coverage(score: ArrayLike, correct: ArrayLike) -> RiskCoverage | None:
    """Risk against coverage when only the most confident answers are given (El-Yaniv and Wiener 2010, JMLR).

    The area is AURC and the excess E-AURC (Geifman, Uziel and El-Yaniv 2019, arXiv:1805.08206). Samples of
    one score come in random order: area and points are expectations over it. None without samples.
    """
    s, y = np.asarray(score, dtype=float), np.asarray(correct, dtype=float)
    if s.ndim != 1 or s.shape != y.shape or bool(np.isnan(s).any()) or not bool(np.isin(y, (0, 1)).all()):
        raise ValueError(f"score, correct: shapes {s.shape} and {y.shape}; give a number and 0 or 1 a sample")
    n = s.size
    if not n:
        return None
    order = np.argsort(-s, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(s[order])), n - 1)
    sizes = np.diff(ends, prepend=-1)
    wrong = np.diff(np.cumsum(1 - y[order])[ends], prepend=0.0)
    expected = np.cumsum(np.repeat(wrong / sizes, sizes))
    taken = np.arange(1, n + 1)
    area = float((expected / taken).mean())
    best = float((np.cumsum(np.sort(1 - y)) / taken).mean())
    return RiskCoverage(
        (taken[ends] / n).tolist(), (expected[ends] / taken[ends]).tolist(), area, max(0.0, area - best)
    )


def _share_below(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the sorted `others` below each value, equal ones by half."""
    below, upto = np.searchsorted(others, values, "left"), np.searchsorted(others, values, "right")
    return (below + upto) / 2 / others.size
