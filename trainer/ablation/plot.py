"""An ablation as one picture: the curves of all stages, and what half a trace is worth in each."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib.figure
from matplotlib.axes import Axes

from evals.budgets import Budget, sort_budgets
from evals.report.headline import problem_sets
from evals.report.plot import positions
from evals.report.tables import budget_name

Numbers = dict[str, Any]
INK, FAINT = "#1b1f24", "#d8dde3"
# Okabe and Ito's colours (2008), which differ for every kind of colour vision; a brown for their yellow, too
# pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C564B")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def draw(numbers: Numbers) -> bytes:
    """The picture as a PNG; the same numbers give the same bytes.

    Left: accuracy against the budget, a band of 95 % for each curve as a whole; a point without thinking
    stands by itself, as it is another prompt. Right: traces cut at half of their own length, above no_think
    on the same problems. Beyond seven stages colours and markers begin again in another pairing.
    """
    figure = matplotlib.figure.Figure(figsize=(9.6, 4.6), dpi=160, facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3.2, 1.3])
    stages = numbers["stages"]
    _curves(left, stages)
    _halves(right, stages)
    for axes in (left, right):
        axes.set_ylim(-0.02, 1.02)
        tidy(axes)
    left.set_ylabel("accuracy", color=INK, fontsize=10.5)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper left", ncols=4, frameon=False, labelcolor=INK, fontsize=10
    )
    return as_png(figure)


def as_png(figure: matplotlib.figure.Figure) -> bytes:
    """The figure as a PNG; the same figure gives the same bytes."""
    output = io.BytesIO()
    figure.savefig(output, format="png", metadata={"Software": None}, facecolor="white")
    return output.getvalue()


def tidy(axes: Axes) -> None:
    """Horizontal lines only, and nothing in the way of the data."""
    axes.set_facecolor("white")
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.tick_params(colors=INK, labelsize=9.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)


def style(place: int) -> tuple[str, str]:
    """Colour and marker of the stage at a place."""
    turn, within = divmod(place, len(COLOURS))
    return COLOURS[within], MARKERS[(within + turn) % len(MARKERS)]


def _curves(axes: Axes, stages: Sequence[Numbers]) -> None:
    budgets: list[Budget] = sort_budgets(p["budget"] for stage in stages for p in stage["points"])
    places = dict(zip(budgets, positions(budgets), strict=True))
    # Points without thinking beside each other, not on top of each other.
    step = min((b - a for a, b in zip([*places.values()], [*places.values()][1:], strict=False)), default=1.0)
    for place, stage in enumerate(stages):
        colour, marker = style(place)
        on = [p for p in stage["points"] if p["budget"] != 0 and p["accuracy"] is not None]
        x = [places[p["budget"]] for p in on]
        axes.plot(
            x,
            [p["accuracy"] for p in on],
            marker=marker,
            color=colour,
            markersize=5.5,
            linewidth=1.8,
            label=stage["name"],
        )
        banded = [p for p in on if p["band_low"] is not None]
        axes.fill_between(
            [places[p["budget"]] for p in banded],
            [p["band_low"] for p in banded],
            [p["band_high"] for p in banded],
            color=colour,
            alpha=0.13,
            linewidth=0,
        )
        shift = (place - (len(stages) - 1) / 2) * 0.5 * step / max(1, len(stages) - 1)
        for point in stage["points"]:
            if point["budget"] == 0 and point["accuracy"] is not None:
                _bar(axes, places[0] + shift, point, colour, marker, filled=False)
    chance = [(places[p["budget"]], p["chance"]) for p in stages[0]["points"] if p["chance"] is not None]
    if chance:
        axes.plot(*zip(*chance, strict=True), ":", color="#5f6a76", linewidth=1.3, label="chance")
    axes.set_xticks([places[b] for b in budgets], [budget_name(b) for b in budgets])
    sets = problem_sets(stages[0]["problems"]["sets"])
    axes.set_xlabel(
        f"thinking budget in tokens ({stages[0]['problems']['n']} problems of {sets})",
        color=INK,
        fontsize=10.5,
        parse_math=False,
    )


def _halves(axes: Axes, stages: Sequence[Numbers]) -> None:
    for place, stage in enumerate(stages):
        colour, marker = style(place)
        half = stage["half"]
        if half["accuracy"] is None:
            continue
        off = half["no_think"]
        axes.plot(
            [place - 0.13, place + 0.13], [off["accuracy"], half["accuracy"]], color=colour, linewidth=1.2
        )
        _bar(axes, place - 0.13, off, colour, marker, filled=False)
        _bar(axes, place + 0.13, half, colour, marker, filled=True)
    axes.set_xlim(-0.6, len(stages) - 0.4)
    axes.set_xticks([])
    axes.set_xlabel(
        "traces cut at half their length (filled)\nand no_think on those problems", color=INK, fontsize=9.5
    )


def _bar(axes: Axes, x: float, point: Numbers, colour: str, marker: str, filled: bool) -> None:
    axes.errorbar(
        [x],
        [point["accuracy"]],
        yerr=[[point["accuracy"] - point["low"]], [point["high"] - point["accuracy"]]],
        fmt=marker,
        color=colour,
        markerfacecolor=colour if filled else "white",
        markersize=6,
        elinewidth=1.2,
        capsize=2.5,
    )
