"""Where a curve levels off, and what is lost beyond its best budget."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evals.budgets import Budget
from evals.stats.curve import Matrix, curve_matrix, resampled_means, score_step, sup_t
from evals.stats.paired import difference_limits
from evals.stats.proportions import Estimate, normal_quantile, two_sided

# Rounding must not decide whether an accuracy is at least a share of the peak.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Reach:
    """The smallest budget whose accuracy is at least `share` of the curve's peak, with its interval."""

    share: float
    budget: Budget
    low: Budget
    high: Budget


def budget_for_share(
    budgets: Sequence[Budget], accuracies: Sequence[float | None], share: float
) -> int | None:
    """Index of the smallest budget whose accuracy is at least `share` of the highest accuracy.

    `budgets` rise. None where no accuracy is known or the highest is 0. Raises ValueError unless
    0 < share <= 1 and there are as many accuracies as budgets.
    """
    if len(budgets) != len(accuracies):
        raise ValueError(f"accuracies: {len(accuracies)} for {len(budgets)} budgets; give one each")
    curve = np.array([math.nan if a is None else a for a in accuracies], dtype=float)
    first = int(_first_reaching(curve[None, :], share)[0])
    return None if first < 0 else first


def reach(
    matrix: ArrayLike,
    budgets: Sequence[Budget],
    shares: Sequence[float] = (0.9, 0.95, 0.99),
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> list[Reach | None]:
    """For each share, the smallest budget that reaches it, and where a bootstrap of questions puts it.

    The limits are quantiles over bootstrap curves, each against its own peak (Efron and Tibshirani 1993, "An
    introduction to the bootstrap", section 13.3), and always budgets of the grid. Noise lifts the highest of
    many points, so that shares near 1 of a level curve ask for too much; the interval is wide there. None
    where the curve is 0.
    """
    values = curve_matrix(matrix)
    if values.shape[1] != len(budgets):
        raise ValueError(f"budgets: {len(budgets)} for {values.shape[1]} columns; give one each")
    with np.errstate(invalid="ignore"):
        mean = np.nansum(values, axis=0) / (~np.isnan(values)).sum(axis=0)
    means = np.concatenate(list(resampled_means(values, draws, seed)))
    tail = 1 - two_sided(confidence)
    found: list[Reach | None] = []
    for share in shares:
        first = int(_first_reaching(mean[None, :], share)[0])
        drawn = _first_reaching(means, share)
        drawn = drawn[drawn >= 0]
        if first < 0 or not len(drawn):
            found.append(None)
            continue
        low, high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")
        found.append(
            Reach(share, budgets[first], budgets[min(int(low), first)], budgets[max(int(high), first)])
        )
    return found


def overthinking(
    matrix: ArrayLike,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    folds: int = 5,
    repeats: int = 20,
) -> Estimate | None:
    """Accuracy lost beyond the best budget: highest mean of the curve less the mean at the largest budget.

    The highest of many noisy means is too high, and a level curve would always seem to lose accuracy. So the
    estimate is cross-fitted: the best budget is chosen on all folds of questions but one, and its difference
    to the largest is measured on that one, averaged over folds and over `repeats` random divisions; the
    largest budget wins ties. That leans low by what wrong choices cost, never high. The loss is not below 0,
    so a negative average is reported as 0, which leaves two fifths of the plain difference's bias where a
    curve is level (30 questions, 8 budgets: 0.027 in place of 0.069).

    The limits hold the true loss, max_b d_b over the differences d_b to the largest budget, whichever budget
    is best (intersection bounds: Chernozhukov, Lee and Rosen 2013, Econometrica 81): the upper is the largest
    pointwise upper limit, since that of the best budget holds already; the lower is the largest lower limit
    of a one-sided sup-t band. They are conservative where several budgets are equally good.

    None without two budgets or without a question that has both the largest and another.
    """
    values = curve_matrix(matrix)
    rows = ~np.isnan(values[:, -1]) & (~np.isnan(values[:, :-1])).any(axis=1)
    values = values[rows]
    if not len(values):
        return None
    losses = values - values[:, -1:]
    others = losses[:, :-1]
    held_out = _cross_fitted(losses, folds, repeats, seed)
    n = len(values)
    mean = max(0.0, float(held_out.mean()))
    se = float(held_out.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    step = score_step(values)
    low, _ = difference_limits(others, step, sup_t(others, confidence, draws, seed, upward=True))
    _, high = difference_limits(others, step, normal_quantile(confidence))
    upper = max(0.0, float(high.max()), mean)
    return Estimate(n, n, mean, se, min(max(0.0, float(low.max())), mean), upper)


def _cross_fitted(losses: Matrix, folds: int, repeats: int, seed: int) -> np.ndarray:
    """Each question's loss at the budget that is best among the other folds, averaged over divisions."""
    rng = np.random.default_rng(seed)
    n = len(losses)
    present = ~np.isnan(losses)
    filled = np.where(present, losses, 0.0)
    sums, counts = filled.sum(axis=0), present.sum(axis=0)
    total = np.zeros(n)
    used = min(folds, n)
    for _ in range(repeats):
        fold = rng.permutation(n) % used
        for index in range(used):
            inside = fold == index
            left = counts - present[inside].sum(axis=0)
            means = np.full(losses.shape[1], -np.inf)
            np.divide(sums - filled[inside].sum(axis=0), left, out=means, where=left > 0)
            means[-1] = 0.0
            # From the right, so that the largest budget wins ties.
            best = len(means) - 1 - int(np.argmax(np.round(means[::-1], 12)))
            total[inside] += filled[inside, best]
    return total / repeats


def _first_reaching(curves: Matrix, share: float) -> np.ndarray:
    """By row: first column at least `share` of the row's largest value; -1 where that is 0 or unknown."""
    if not 0 < share <= 1:
        raise ValueError(f"share: {share} is not a share of the peak; give more than 0 and at most 1")
    filled = np.where(np.isnan(curves), -1.0, curves)
    peak = filled.max(axis=1)
    first = (filled >= share * peak[:, None] - _SLACK).argmax(axis=1)
    return np.where(peak > 0, first, -1)
