"""Recommended budgets for low, medium and high effort, with how sure the run is of them.

The rule: the smallest budget that reaches 70, 90 and 98 % of the peak's gain in accuracy over no thinking. A
share of the gain, not of the peak: where no thinking is right 60 times in 100 and the peak 70 times, 90 % of
the peak is next to nothing gained.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evals.budgets import Budget
from evals.stats.curve import Matrix, curve_matrix, resampled_means
from evals.summary.curve import matrix_of
from evals.summary.outcomes import NO_THINKING, Outcome

SHARES = {"low": 0.70, "medium": 0.90, "high": 0.98}
DRAWS = 2000
_SLACK = 1e-9
_PERCENT = ", ".join(f"{100 * share:.0f} %" for share in SHARES.values())
RULE_GAIN = (
    f"the smallest budget that reaches {_PERCENT} of the peak's gain in accuracy over no thinking, for low, "
    "medium and high"
)
RULE_PEAK = (
    f"the smallest budget that reaches {_PERCENT} of the peak accuracy, for low, medium and high; "
    "no thinking was not measured, so gains over it are not known"
)
RULE_FLAT = "no budget was measured as better than no thinking, so no thinking is recommended throughout"


def recommendation(by_budget: Mapping[Budget, Sequence[Outcome]]) -> dict[str, Any]:
    """`recommended` and `rule` of a profile; every budget has replies.

    recommended: {low, medium, high}, each {budget, at_least, at_most, share, accuracy}. In 95 % of bootstrap
    resamples of the problems the rule chooses a budget from `at_least` to `at_most`; a resample in which no
    budget is better than no thinking chooses no thinking.
    """
    budgets, matrix = list(by_budget), curve_matrix(matrix_of(by_budget))
    means = np.nanmean(matrix, axis=0)
    off = next((i for i, budget in enumerate(budgets) if budget in NO_THINKING), None)
    drawn = np.concatenate(list(resampled_means(matrix, DRAWS, seed=0)))
    recommended: dict[str, Any] = {}
    for name, share in SHARES.items():
        place = int(first_reaching(means[None, :], share, off)[0])
        places = first_reaching(drawn, share, off)
        low, high = np.quantile(places, [0.025, 0.975], method="inverted_cdf")
        recommended[name] = {
            "budget": budgets[place],
            "at_least": budgets[min(int(low), place)],
            "at_most": budgets[max(int(high), place)],
            "share": share,
            "accuracy": float(means[place]),
        }
    flat = off is not None and means.max() <= means[off] + _SLACK
    rule = RULE_PEAK if off is None else RULE_FLAT if flat else RULE_GAIN
    return {"recommended": recommended, "rule": rule}


def first_reaching(curves: Matrix, share: float, off: int | None) -> np.ndarray:
    """By row of [curves, budgets]: the first budget with `share` of the row's largest gain over column `off`.

    Without gain it is `off` itself. off None: shares of the largest value.
    """
    base = 0.0 if off is None else curves[:, [off]]
    gains = np.nan_to_num(curves - base, nan=-1.0)
    peak = gains.max(axis=1, keepdims=True)
    first = (gains >= share * peak - _SLACK).argmax(axis=1)
    return np.where(peak[:, 0] > _SLACK, first, off or 0)
