"""The numbers of a study, from the stores of its ablation: each arm against the baseline, over all seeds.

What is compared is the answer of two models of one seed to one problem. Problems and seeds are both samples
of many, crossed with each other: see `trainer.study.crossed`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evals import stats
from evals.budgets import Budget
from evals.compare.compare import Cell, Measured, measure
from evals.summary.curve import SCALE, token_axis
from evals.summary.points import clusters
from evals.wording import listed
from trainer.ablation.measure import curve_folder
from trainer.ablation.numbers import half_cut
from trainer.study.crossed import Crossed, crossed_difference, verdict_of

Numbers = dict[str, Any]
HALF_CUT = "half-cut"


def study_numbers(arms: Mapping[str, Sequence[str]], out: Path, worthwhile: float) -> Numbers:
    """Every arm against the first, as JSON values.

    arms: the measured stages of each, seed by seed. worthwhile: the smallest difference worth having. Each
    comparison has `rows` (one a budget, and half-cut traces) with Holm's p over all of them and all arms, and
    `area` over the token budgets, which is the one test to judge an arm by and is not adjusted.
    """
    baseline, *others = arms
    comparisons = [_comparison(baseline, other, arms, out) for other in others]
    rows = [row for comparison in comparisons for row in comparison["rows"]]
    for row, p in zip(rows, stats.holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
        row["verdict"] = verdict_of(row["mean"], row["low"], row["high"], p, worthwhile)
    for comparison in comparisons:
        area = comparison["area"]
        if area is not None:
            area["verdict"] = verdict_of(area["mean"], area["low"], area["high"], area["p"], worthwhile)
    return {
        "format": 1,
        "baseline": baseline,
        "arms": {arm: list(stages) for arm, stages in arms.items()},
        "worthwhile": worthwhile,
        "comparisons": comparisons,
    }


def _comparison(baseline: str, arm: str, arms: Mapping[str, Sequence[str]], out: Path) -> Numbers:
    first, second = ([read_curve(out, name) for name in arms[which]] for which in (baseline, arm))
    problems, budgets = shared([*first, *second])
    before, after = answers(first, problems, budgets), answers(second, problems, budgets)
    rows = []
    for place, budget in enumerate(budgets):
        row = _row(before[:, place], after[:, place])
        if row is not None:
            rows.append({"budget": budget, **row})
    halves = [[clusters(half_cut(out, name)[0]) for name in arms[which]] for which in (baseline, arm)]
    both = sorted(set.intersection(*(set(half) for side in halves for half in side)))
    if both:
        before_half, after_half = (
            np.array([[np.mean(half[problem]) for half in side] for problem in both]) for side in halves
        )
        row = _row(before_half, after_half)
        if row is not None:
            rows.append({"budget": HALF_CUT, **row})
    return {"arm": arm, "rows": rows, "area": _area(before, after, budgets)}


def read_curve(out: Path, name: str) -> Measured:
    """The measured curve of a stage, graded."""
    return measure(curve_folder(out, name), name, "thinkdial")


def shared(runs: Sequence[Measured]) -> tuple[list[str], list[Budget]]:
    """The problems (by content hash) and the budgets that all runs were asked."""
    budgets = [b for b in runs[0].budgets if all(b in run.budgets for run in runs)]
    return sorted(set.intersection(*(run.problems for run in runs))), budgets


def answers(runs: Sequence[Measured], problems: Sequence[str], budgets: Sequence[Budget]) -> np.ndarray:
    """Share right, [problems, budgets, seeds]; NaN where a reply lacks."""

    def mean(values: Mapping[Cell, Sequence[float]], cell: Cell) -> float:
        return float(np.mean(values[cell])) if cell in values else float("nan")

    return np.array(
        [[[mean(run.values, (p, b)) for run in runs] for b in budgets] for p in problems], dtype=float
    )


def _row(before: np.ndarray, after: np.ndarray) -> Numbers | None:
    """Both accuracies and their difference, on the problems that every seed of both arms has a reply to."""
    complete = ~np.isnan(before).any(axis=1) & ~np.isnan(after).any(axis=1)
    found = _crossed(before[complete], after[complete])
    if found is None:
        return None
    return {
        "baseline": float(before[complete].mean()),
        "with": float(after[complete].mean()),
        **found.to_json(),
    }


def area(found: np.ndarray, budgets: Sequence[Budget]) -> tuple[np.ndarray, list[Budget]]:
    """Mean accuracy over the token budgets on a log scale, and those budgets.

    found: of `answers`, [problems, budgets, seeds]; returns [problems, seeds], NaN where a reply lacks.
    Raises ValueError below two token budgets.
    """
    columns = [place for place, budget in enumerate(budgets) if isinstance(budget, int)]
    if len(columns) < 2:
        raise ValueError(f"budgets: {listed([str(b) for b in budgets])}; an area needs two numbers of tokens")
    grid = [budgets[place] for place in columns]
    return np.einsum("pbs,b->ps", found[:, columns], stats.curve.trapezoid_weights(token_axis(grid))), grid


def _area(before: np.ndarray, after: np.ndarray, budgets: Sequence[Budget]) -> Numbers | None:
    if sum(isinstance(budget, int) for budget in budgets) < 2:
        return None
    (first, grid), (second, _) = area(before, budgets), area(after, budgets)
    row = _row(first, second)
    return None if row is None else {**row, "scale": SCALE, "grid": grid}


def _crossed(before: np.ndarray, after: np.ndarray) -> Crossed | None:
    return crossed_difference(after - before) if len(before) else None
