"""Draw a budget curve with matplotlib, as PNG or SVG, in light or dark colours."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evals.budgets import Budget


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of a figure."""

    paper: str
    ink: str
    faint: str
    all: str
    cut: str
    no_think: str
    bars: str


_LEGEND = ("all replies", "cut replies", "thinking off, same problems", "chance")

LIGHT = Palette("#ffffff", "#1f2328", "#d8dde3", "#1f5fbf", "#c2410c", "#57606a", "#f0b48f")
DARK = Palette("#12161c", "#e6e9ee", "#333b46", "#79aefc", "#ff9f63", "#a3adba", "#7a4a2d")


def draw(summary: dict[str, Any], format: Literal["png", "svg"], palette: Palette = LIGHT) -> bytes:
    """The curve of a summary: accuracy of all replies and of the cut ones, and the share that was cut.

    Errors are 95 % intervals. 0 is thinking off, "max" no limit.
    """
    points = [point for point in summary["points"] if point["n"]]
    figure = Figure(figsize=(7.2, 5.4), dpi=160, facecolor=palette.paper, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    x = positions([point["budget"] for point in points])
    _accuracies(upper, x, points, palette)
    _shares(lower, x, points, palette)
    lower.set_xticks(x, [_label(point["budget"]) for point in points])
    if len(points) > 9:
        lower.tick_params(axis="x", labelrotation=45)
    lower.set_xlabel("thinking budget (tokens)", color=palette.ink)
    figure.suptitle(_title(summary, points), color=palette.ink, fontsize=10, parse_math=False)
    upper.grid(axis="y", color=palette.faint, linewidth=0.7)
    for axes in (upper, lower):
        _style(axes, palette)
    output = io.BytesIO()
    # A fixed salt and no date: the same summary gives the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "thinkdial"}):
        metadata: dict[str, Any] = {"Date": None} if format == "svg" else {"Software": None}
        figure.savefig(output, format=format, metadata=metadata, facecolor=palette.paper)
    return output.getvalue()


def positions(budgets: Sequence[Budget]) -> list[float]:
    """x of ascending budgets: 0 stands one mean step before the first, "max" one after the last.

    Budgets of 1 and more lie on a linear or a log scale, whichever spaces them more evenly.
    """
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


def _accuracies(axes: Axes, x: Sequence[float], points: Sequence[dict[str, Any]], palette: Palette) -> None:
    """All replies with their band; cut replies with error bars; no thinking on the cut ones' problems."""
    axes.fill_between(
        x,
        [p["low"] for p in points],
        [p["high"] for p in points],
        color=palette.all,
        alpha=0.16,
        linewidth=0,
    )
    axes.plot(x, [p["accuracy"] for p in points], "-o", color=palette.all, markersize=5, label="all replies")
    cut = [(at, p) for at, p in zip(x, points, strict=True) if p["cut_n"]]
    if cut:
        axes.errorbar(
            [at for at, _ in cut],
            [p["cut_accuracy"] for _, p in cut],
            yerr=[
                [p["cut_accuracy"] - p["cut_low"] for _, p in cut],
                [p["cut_high"] - p["cut_accuracy"] for _, p in cut],
            ],
            fmt="--s",
            color=palette.cut,
            markersize=4.5,
            capsize=3,
            elinewidth=1,
            label="cut replies",
        )
    other = [
        (at, p["no_think_accuracy_on_cut"]) for at, p in cut if p["no_think_accuracy_on_cut"] is not None
    ]
    if other:
        axes.plot(
            [at for at, _ in other],
            [accuracy for _, accuracy in other],
            "D",
            color=palette.no_think,
            markerfacecolor="none",
            markersize=4.5,
            label="thinking off, same problems",
        )
    chance = [(at, p["chance"]) for at, p in zip(x, points, strict=True) if p["chance"] is not None]
    if chance:
        axes.plot(*zip(*chance, strict=True), ":", color=palette.no_think, linewidth=1.2, label="chance")
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("accuracy", color=palette.ink)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: _LEGEND.index(labels[i]))
    axes.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        frameon=False,
        labelcolor=palette.ink,
        fontsize=8.5,
        loc="lower left",
        ncols=4,
        bbox_to_anchor=(-0.01, 1.0),
        borderpad=0,
        columnspacing=1.6,
    )


def _shares(axes: Axes, x: Sequence[float], points: Sequence[dict[str, Any]], palette: Palette) -> None:
    gaps = [after - before for before, after in pairwise(x)]
    width = 0.7 * min(gaps, default=1.0)
    shares = [p["cut_share"] or 0.0 for p in points]
    axes.bar(x, shares, width=width, color=palette.bars)
    for at, share, point in zip(x, shares, points, strict=True):
        if point["cut_share"] is not None:
            axes.annotate(
                f"{100 * share:.0f} %",
                (at, share),
                textcoords="offset points",
                xytext=(0, 2),
                ha="center",
                fontsize=7.5,
                color=palette.ink,
            )
    axes.set_ylim(0, 1.25)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("share cut", color=palette.ink)


def _style(axes: Axes, palette: Palette) -> None:
    axes.set_facecolor(palette.paper)
    axes.tick_params(colors=palette.ink, labelsize=8.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(palette.faint)


def _title(summary: dict[str, Any], points: Sequence[dict[str, Any]]) -> str:
    settings = summary["settings"]
    model = settings["model"].rstrip("/").rpartition("/")[2]
    counts = sorted({point["n"] for point in points}) or [0]
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{model} on {settings['problems']}: {n} replies a budget, {settings['mode']}, 95 % intervals"


def _label(budget: Budget) -> str:
    return "no limit" if budget == "max" else str(budget)
