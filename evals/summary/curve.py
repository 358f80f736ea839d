"""The numbers of a whole curve: bands, area, peak, reach, overthinking, and changes between budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np

from evals import stats
from evals.budgets import Budget, as_number
from evals.summary.outcomes import Outcome
from evals.summary.points import clusters, interval

SHARES = (0.9, 0.95, 0.99)
"""Shares of the peak accuracy whose budget is told."""
SCALE = "log2(tokens), thinking off one doubling below the smallest budget"


def matrix_of(
    by_budget: Mapping[Budget, Sequence[Outcome]], problems: Sequence[str] | None = None
) -> np.ndarray:
    """Mean accuracy of each question (rows, by name) at each budget (columns); NaN where replies lack."""
    columns = [clusters(replies) for replies in by_budget.values()]
    names = sorted({name for column in columns for name in column}) if problems is None else problems
    return np.array(
        [[np.mean(column[name]) if name in column else np.nan for column in columns] for name in names],
        dtype=float,
    ).reshape(len(names), len(columns))


def measured(by_budget: Mapping[Budget, Sequence[Outcome]]) -> dict[Budget, Sequence[Outcome]]:
    """The budgets that have replies."""
    return {budget: replies for budget, replies in by_budget.items() if replies}


def bands(by_budget: Mapping[Budget, Sequence[Outcome]]) -> dict[Budget, tuple[float | None, float | None]]:
    """The simultaneous 95 % band at each budget: it holds the whole curve with that probability."""
    have = measured(by_budget)
    matrix = matrix_of(have)
    if matrix.shape[0] < 2:
        return {budget: (None, None) for budget in by_budget}
    found = stats.curve_bands(matrix)
    edges = zip(found.band_low, found.band_high, strict=True)
    known = dict(zip(have, edges, strict=True))
    return {budget: known.get(budget, (None, None)) for budget in by_budget}


def token_axis(budgets: Sequence[Budget]) -> list[float]:
    """Places of budgets of tokens, without "max", on the axis that areas are taken over, from 0 to 1."""
    return stats.log_axis([as_number(budget) for budget in budgets])


def curve(by_budget: Mapping[Budget, Sequence[Outcome]]) -> dict[str, Any]:
    """Area, peak, reach, overthinking and flip rate.

    The area is taken over the budgets that are numbers, on the scale told; "max" has no place on it. Flip
    rate: share of samples that are right at one budget and wrong at a larger one.
    """
    have = measured(by_budget)
    budgets, matrix = list(have), matrix_of(have)
    if matrix.shape[0] < 2 or matrix.shape[1] < 2:
        return {"area": None, "peak": None, "reach": [], "overthinking": None, "flip_rate": None}
    means = np.nanmean(matrix, axis=0)
    best = int(np.argmax(means))
    return {
        "area": area(have),
        "peak": {"budget": budgets[best], "accuracy": float(means[best])},
        "reach": [asdict(row) for row in stats.reach(matrix, budgets, SHARES) if row is not None],
        "overthinking": interval(stats.overthinking(matrix)),
        "flip_rate": flip_rate(have),
    }


def area(by_budget: Mapping[Budget, Sequence[Outcome]]) -> dict[str, Any] | None:
    """Mean accuracy over the token budgets on a log scale, with its interval; None below two of them."""
    grid: dict[Budget, Sequence[Outcome]] = {b: r for b, r in by_budget.items() if isinstance(b, int)}
    if len(grid) < 2:
        return None
    found = interval(stats.area_estimate(matrix_of(grid), token_axis(list(grid))))
    return None if found is None else {**found, "scale": SCALE, "grid": list(grid)}


def flip_rate(by_budget: Mapping[Budget, Sequence[Outcome]]) -> float | None:
    """`stats.flip_rate` over the samples that have a reply at every budget."""
    rows: dict[tuple[str, int], list[float]] = {}
    for replies in by_budget.values():
        for outcome in replies:
            rows.setdefault((outcome.problem, outcome.sample), []).append(float(outcome.correct))
    complete = [row for row in rows.values() if len(row) == len(by_budget)]
    return stats.flip_rate(np.array(complete)) if complete else None


def differences(by_budget: Mapping[Budget, Sequence[Outcome]]) -> list[dict[str, Any]]:
    """Paired change of accuracy from each budget to the next: t interval, sign-flip p, and Holm's p."""
    rows: list[dict[str, Any]] = []
    for low, high in pairwise(by_budget):
        first, second = clusters(by_budget[low]), clusters(by_budget[high])
        estimate = stats.paired_difference(first, second)
        if estimate is not None:
            p = stats.sign_flip_test(question_differences(first, second))
            rows.append({"from": low, "to": high, **(interval(estimate) or {}), "p": p})
    adjusted = stats.holm([row["p"] for row in rows])
    return [{**row, "p_holm": p} for row, p in zip(rows, adjusted, strict=True)]


def question_differences(
    first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]
) -> list[float]:
    """`second - first` of the means of each question that both hold, by name."""
    return [float(np.mean(second[q]) - np.mean(first[q])) for q in sorted(first) if q in second]
