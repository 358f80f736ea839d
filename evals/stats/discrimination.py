"""Do confidences tell right answers from wrong ones? The ROC area by question, risk against coverage."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from evals.stats.proportions import Estimate, normal_quantile, two_sided, wilson_limits


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

    The variance is the delete-one-question jackknife's (Arvesen 1969, Annals of Mathematical Statistics 40),
    which allows for samples of one question being alike and for questions that hold many of the rarer
    outcome. The limits are Wilson's at the effective size A (1 - A)/variance, scaled by the squared ratio of
    the normal to Student's quantile with C - 1 degrees of freedom for C questions; at most three times the
    rarer outcome's samples, about what independent samples give; and the number of questions with the rarer
    outcome where right and wrong separate perfectly and the variance is 0. (Newcombe 2006, Statistics in
    Medicine 25, finds score-like limits best for this area.) `score` may be any number, not only a
    probability; without `questions` each sample is one. None without a right and a wrong answer.
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
    clusters = len(number)
    area, variance = _jackknife(s, y, question, right, wrong)
    size = float(min(len(np.unique(question[y == 1])), len(np.unique(question[y == 0]))))
    z = normal_quantile(confidence)
    if variance > 0 and 0 < area < 1:
        ratio = z / float(stdtrit(clusters - 1, two_sided(confidence)))
        size = min(area * (1 - area) / variance * ratio**2, 3.0 * min(right.size, wrong.size))
    low, high = wilson_limits(area, size, size, z)
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


def _jackknife(
    s: NDArray[np.float64],
    y: NDArray[np.float64],
    question: NDArray[np.intp],
    right: NDArray[np.float64],
    wrong: NDArray[np.float64],
) -> tuple[float, float]:
    """The area and its jackknife variance over questions; `right` and `wrong` are the sorted scores."""
    wins = np.where(y == 1, _share_below(s, wrong) * wrong.size, (1 - _share_below(s, right)) * right.size)
    total = float(wins[y == 1].sum())
    area = total / (right.size * wrong.size)
    rights, wrongs = np.bincount(question, weights=y), np.bincount(question, weights=1 - y)
    # Pairs within a question are counted in its right and in its wrong answers.
    both = np.zeros(len(rights))
    order = np.argsort(question, kind="stable")
    bounds = np.append(0, np.cumsum(np.bincount(question)))
    for index in np.flatnonzero((rights > 0) & (wrongs > 0)):
        members = order[bounds[index] : bounds[index + 1]]
        here, there = s[members[y[members] == 1]], np.sort(s[members[y[members] == 0]])
        both[index] = float(_share_below(here, there).sum()) * there.size
    pairs = (right.size - rights) * (wrong.size - wrongs)
    remaining = total - np.bincount(question, weights=wins) + both
    left_out = np.divide(remaining, pairs, out=np.full(len(pairs), area), where=pairs > 0)
    count = len(left_out)
    return area, float((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum())


def _share_below(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the sorted `others` below each value, equal ones by half."""
    below, upto = np.searchsorted(others, values, "left"), np.searchsorted(others, values, "right")
    return (below + upto) / 2 / others.size
