"""Budgets for effort levels: the smallest that keep their promises on a fitted curve, and how sure that is.

The fitted curve rises with the budget (isotonic regression), so that noise at one budget does not decide:
neither a lucky one the peak, nor an unlucky one a level. Two things may fall. Thinking off has another prompt
than thinking cut short, and stands for itself. And where the run shows that accuracy falls beyond the best
budget (`stats.overthinking`, its lower limit above 0), the curve falls from there on.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evals import stats
from evals.budgets import Budget, axis_of
from evals.levels import UNLIMITED, LevelRule
from evals.stats.curve import Matrix, curve_matrix, resampled_means
from evals.summary.curve import matrix_of
from evals.summary.outcomes import NO_THINKING, Outcome
from evals.summary.points import mean
from serve.profile import NO_LIMIT, BudgetCurve, CurvePoint

DRAWS = 2000


def recommendation(by_budget: Mapping[Budget, Sequence[Outcome]], rule: LevelRule) -> dict[str, Any]:
    """`fitted` and `recommended` of a curve; every budget has replies.

    fitted: the accuracy to expect at each budget. recommended: for each level {budget, at_least, at_most,
    share, accuracy}, the last the fitted one at `budget`. In 95 % of bootstrap resamples of the problems the
    rule chooses a budget from `at_least` to `at_most`. Only budgets in tokens are interpolated.
    Raises ValueError for shares of the gain where no thinking was not measured.
    """
    grid = _Grid.of(by_budget)
    if rule.of == "gain" and not grid.off:
        raise ValueError(
            f"share_of: gain is over no thinking, which was not measured; sweep thinking off beside "
            f"{', '.join(map(str, grid.budgets))}, or take shares of the peak"
        )
    matrix = curve_matrix(matrix_of(by_budget))
    means = np.nanmean(matrix, axis=0)
    weights = (~np.isnan(matrix)).sum(axis=0).astype(float)
    best = _last_rising(matrix, means, grid)
    fitted = grid.fit(means, weights, best)
    curve = grid.curve(fitted)
    # A resample may leave a budget of few replies without any.
    resampled = [
        grid.curve(grid.fit(np.where(np.isnan(row), means, row), weights, best))
        for rows in resampled_means(matrix, DRAWS, seed=0)
        for row in rows
    ]
    recommended: dict[str, Any] = {}
    for level, share in rule.all.items():
        place = _chosen(curve, share, rule)
        drawn = sorted(_chosen(other, share, rule) for other in resampled)
        low, high = (drawn[math.ceil(q * DRAWS) - 1] for q in (0.025, 0.975))
        recommended[level] = {
            "budget": grid.budget(place),
            "at_least": grid.budget(min(low, place)),
            "at_most": grid.budget(max(high, place)),
            "share": share,
            "accuracy": curve.accuracy_at(_limit(place)),
        }
    if grid.tokens:
        measured = grid.budgets[-1] == NO_LIMIT
        recommended[UNLIMITED] = {
            **dict.fromkeys(("budget", "at_least", "at_most"), NO_LIMIT),
            "share": None,
            "accuracy": fitted[-1] if measured else None,
        }
    return {"fitted": fitted, "recommended": recommended}


@dataclass(frozen=True, slots=True)
class _Grid:
    """The measured budgets. tokens: they count tokens. off: the first of them is thinking off.

    used: mean thinking tokens of each, 0 where they are not told.
    """

    budgets: Sequence[Budget]
    used: Sequence[float]
    tokens: bool
    off: bool

    @classmethod
    def of(cls, by_budget: Mapping[Budget, Sequence[Outcome]]) -> "_Grid":
        budgets = list(by_budget)
        used = [mean(o.thinking_tokens for o in replies) or 0.0 for replies in by_budget.values()]
        return cls(budgets, used, axis_of(budgets) == "tokens", budgets[0] in NO_THINKING)

    def fit(self, means: Matrix, weights: Matrix, best: int) -> list[float]:
        """The fitted accuracy at each budget; the curve falls after column `best`."""
        first = int(self.off)
        up, down = slice(first, max(best + 1, first)), slice(max(best + 1, first), None)
        rising = stats.monotone(means[up].tolist(), weights[up].tolist())
        falling = stats.monotone((-means[down]).tolist(), weights[down].tolist())
        return [*means[:first].tolist(), *rising, *(-value for value in falling)]

    def curve(self, fitted: Sequence[float]) -> BudgetCurve:
        """The curve as the server interpolates it; on other axes than tokens over the budgets' ranks."""
        return BudgetCurve(
            tuple(
                CurvePoint(self._place(rank), value, value, value, value, used if self.tokens else 0.0)
                for rank, (value, used) in enumerate(zip(fitted, self.used, strict=True))
            ),
            {},
        )

    def _place(self, rank: int) -> int | None:
        budget = self.budgets[rank]
        if not self.tokens:
            return rank
        return budget if isinstance(budget, int) else None

    def budget(self, place: float) -> Budget:
        """What stands at a place of the curve."""
        if not self.tokens:
            return self.budgets[int(place)]
        return NO_LIMIT if place == math.inf else int(place)


def _last_rising(matrix: Matrix, means: Matrix, grid: _Grid) -> int:
    """The column that the fitted curve falls after: the last, unless the run shows that accuracy falls."""
    loss = stats.overthinking(matrix[:, int(grid.off) :]) if len(means) - grid.off > 1 else None
    falls = loss is not None and loss.low > 0
    return int(np.argmax(means)) if falls else len(means) - 1


def _chosen(curve: BudgetCurve, share: float, rule: LevelRule) -> float:
    """The place of the smallest budget that keeps the promise; infinity for no limit."""
    base = curve.points[0].fitted if rule.of == "gain" else 0.0
    budget = curve.budget_for_accuracy(base + share * (curve.peak - base))
    return math.inf if budget is None else float(budget)


def _limit(place: float) -> int | None:
    return None if place == math.inf else int(place)
