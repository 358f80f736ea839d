"""Draw a budget curve with matplotlib, as a PNG for papers, slides and Markdown."""

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any

import matplotlib.figure
from matplotlib.axes import Axes

from evals.budgets import Budget, as_number, axis_of
from evals.report.headline import title
from evals.report.tables import budget_name, clean

INK, FAINT = "#1b1f24", "#d8dde3"
ALL, CUT, OTHER, BARS = "#1f5fbf", "#b8430a", "#5f6a76", "#f0b48f"
_LEGEND = ("all replies", "cut replies", "thinking off, same problems", "chance")


def draw(summary: dict[str, Any]) -> bytes:
    """The curve of a summary: accuracy of all replies and of the cut ones, and the share that was cut.

    The dark band holds each point, the light one the whole curve, at 95 %. "off" is thinking off, "no limit"
    a budget of "max". The same summary gives the same bytes.
    """
    points = [point for point in summary["points"] if point["n"]]
    figure = matplotlib.figure.Figure(figsize=(7.2, 5.4), dpi=160, facecolor="white", layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    x = positions([point["budget"] for point in points])
    _accuracies(upper, x, points)
    _shares(lower, x, points)
    lower.set_xticks(x, [budget_name(point["budget"]) for point in points])
    if len(points) > 9:
        lower.tick_params(axis="x", labelrotation=45)
    axis = {
        "tokens": "thinking budget (tokens)",
        "share": "thinking kept (share of its natural length)",
        "effort": "effort asked",
        "switch": "thinking",
    }
    lower.set_xlabel(axis[summary["axis"]], color=INK)
    figure.suptitle(_title(summary, points), color=INK, fontsize=10, parse_math=False)
    upper.grid(axis="y", color=FAINT, linewidth=0.7)
    for axes in (upper, lower):
        style(axes)
    return as_png(figure)


def as_png(figure: matplotlib.figure.Figure) -> bytes:
    """A figure as a picture; the same figure gives the same bytes."""
    output = io.BytesIO()
    figure.savefig(output, format="png", metadata={"Software": None}, facecolor="white")
    return output.getvalue()


def positions(budgets: Sequence[Budget]) -> list[float]:
    """x of ascending budgets: 0 stands one mean step before the first, "max" one after the last.

    Budgets of 1 and more lie on a linear or a log scale, whichever spaces them more evenly. Effort levels and
    the switch are evenly spaced: how far apart they are is not known. Shares lie where they are, "max" at 1.
    """
    if axis_of(budgets) == "share":
        return [min(as_number(budget), 1.0) for budget in budgets]
    if any(isinstance(budget, str) and budget != "max" for budget in budgets):
        return [float(place) for place in range(len(budgets))]
    finite = [float(budget) for budget in budgets if isinstance(budget, int) and budget > 0]
    logs = [math.log2(budget) for budget in finite]
    if _unevenness(logs) < _unevenness(finite):
        finite = logs
    step = fmean(b - a for a, b in pairwise(finite)) if len(finite) > 1 else 1.0
    place = dict(zip([budget for budget in budgets if budget not in (0, "max")], finite, strict=True))
    place[0] = finite[0] - step if finite else 0.0
    place["max"] = finite[-1] + step if finite else 1.0
    return [place[budget] for budget in budgets]


def _unevenness(values: Sequence[float]) -> float:
    """Coefficient of variation of the steps between ascending values."""
    steps = [after - before for before, after in pairwise(values)]
    return pstdev(steps) / fmean(steps) if steps else 0.0


def _accuracies(axes: Axes, x: Sequence[float], points: Sequence[dict[str, Any]]) -> None:
    """All replies with their bands; cut replies with error bars; no thinking on the cut ones' problems."""
    for low, high, alpha in (("band_low", "band_high", 0.10), ("low", "high", 0.18)):
        known = [(at, p) for at, p in zip(x, points, strict=True) if p[low] is not None]
        axes.fill_between(
            [at for at, _ in known],
            [p[low] for _, p in known],
            [p[high] for _, p in known],
            color=ALL,
            alpha=alpha,
            linewidth=0,
        )
    axes.plot(x, [p["accuracy"] for p in points], "-o", color=ALL, markersize=5, label="all replies")
    cut = [(at, p["cut"]) for at, p in zip(x, points, strict=True) if p["cut"]["n"]]
    if cut:
        axes.errorbar(
            [at for at, _ in cut],
            [c["accuracy"] for _, c in cut],
            yerr=[
                [c["accuracy"] - c["low"] for _, c in cut],
                [c["high"] - c["accuracy"] for _, c in cut],
            ],
            fmt="--s",
            color=CUT,
            markersize=4.5,
            capsize=3,
            elinewidth=1,
            label="cut replies",
        )
    other = [(at, c["no_think_accuracy"]) for at, c in cut if c["no_think_accuracy"] is not None]
    if other:
        label = "thinking off, same problems"
        axes.plot(
            *zip(*other, strict=True), "D", color=OTHER, markerfacecolor="none", markersize=4.5, label=label
        )
    chance = [(at, p["chance"]) for at, p in zip(x, points, strict=True) if p["chance"] is not None]
    if chance:
        axes.plot(*zip(*chance, strict=True), ":", color=OTHER, linewidth=1.2, label="chance")
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("accuracy", color=INK)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: _LEGEND.index(labels[i]))
    axes.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        frameon=False,
        labelcolor=INK,
        fontsize=8.5,
        loc="lower left",
        ncols=4,
        bbox_to_anchor=(-0.01, 1.0),
        borderpad=0,
        columnspacing=1.6,
    )


def _shares(axes: Axes, x: Sequence[float], points: Sequence[dict[str, Any]]) -> None:
    gaps = [after - before for before, after in pairwise(x)]
    width = 0.7 * min(gaps, default=1.0)
    shares = [p["cut"]["share"] or 0.0 for p in points]
    axes.bar(x, shares, width=width, color=BARS)
    for at, share, point in zip(x, shares, points, strict=True):
        if point["cut"]["share"] is not None:
            axes.annotate(
                f"{100 * share:.0f} %",
                (at, share),
                textcoords="offset points",
                xytext=(0, 2),
                ha="center",
                fontsize=7.5,
                color=INK,
            )
    axes.set_ylim(0, 1.25)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("share cut", color=INK)


def style(axes: Axes) -> None:
    """The look that all pictures share."""
    axes.set_facecolor("white")
    axes.tick_params(colors=INK, labelsize=8.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)


def _title(summary: dict[str, Any], points: Sequence[dict[str, Any]]) -> str:
    counts = sorted({point["n"] for point in points}) or [0]
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{clean(title(summary))}: {n} replies a budget, {summary['settings']['mode']}, 95 % intervals"
