"""Comparisons in plain words: where one curve is better, and what could not have been seen."""

from collections.abc import Sequence
from typing import Any

from evals.budgets import Budget
from evals.wording import listed


def curve_verdict(
    a: str,
    b: str,
    points: Sequence[dict[str, Any]],
    area: dict[str, Any] | None,
    alpha: float = 0.05,
) -> str:
    """Where b is better or worse than a (Holm's p below `alpha`), and where no difference is shown.

    >>> curve_verdict("A", "B", [], None)
    'nothing to compare'
    """
    if not points:
        return "nothing to compare"
    kinds = [_kind(point, alpha) for point in points]
    parts = []
    for kind in ("better", "worse"):
        chosen = [i for i, found in enumerate(kinds) if found == kind]
        if chosen:
            sizes = [abs(100 * points[i]["difference"]["mean"]) for i in chosen]
            where = budget_ranges([point["budget"] for point in points], chosen)
            parts.append(f"{b} is {kind} than {a} at {where} by {_range(sizes)} points")
    rest = [i for i, found in enumerate(kinds) if found == "none"]
    if rest:
        where = budget_ranges([point["budget"] for point in points], rest)
        text = "no difference shown at " + ("any budget" if len(rest) == len(points) else where)
        shown = [100 * points[i]["mde"] for i in rest if points[i]["mde"] is not None]
        if shown:
            text += f", where {_range(shown)} points could have been shown"
        parts.append(text)
    if area is not None:
        words = "better" if area["mean"] > 0 else "worse" if area["mean"] < 0 else "apart"
        low, high = 100 * area["low"], 100 * area["high"]
        clear = "" if low > 0 or high < 0 else ", which may be noise"
        parts.append(
            f"over the token budgets together {b} is {abs(100 * area['mean']):.1f} points {words} "
            f"(95 %: {low:+.1f} to {high:+.1f}{clear})"
        )
    return "; ".join(parts)


def _kind(point: dict[str, Any], alpha: float) -> str:
    if point["p_holm"] >= alpha or point["difference"]["mean"] == 0:
        return "none"
    return "better" if point["difference"]["mean"] > 0 else "worse"


def budget_ranges(budgets: Sequence[Budget], chosen: Sequence[int]) -> str:
    """Budgets at the ascending places `chosen`, runs of neighbours as a range.

    >>> budget_ranges([0, 8, 16, 32, "max"], [0, 2, 3, 4])
    'budgets 0 and 16 to max'
    """
    runs: list[list[int]] = []
    for place in chosen:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    names = []
    for run in runs:
        if len(run) > 2:
            names.append(f"{budgets[run[0]]} to {budgets[run[-1]]}")
        else:
            names += [str(budgets[place]) for place in run]
    word = "budget" if len(chosen) == 1 else "budgets"
    return f"{word} " + listed(names)


def _range(sizes: Sequence[float]) -> str:
    low, high = f"{min(sizes):.1f}", f"{max(sizes):.1f}"
    return low if low == high else f"{low} to {high}"
