"""A comparison as one picture: accuracy by tokens sampled, by budget, and above the start."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
from matplotlib.axes import Axes

from trainer.ablation.plot import INK, as_png, style, tidy
from trainer.compare.methods import START
from trainer.study.report import GREY, draw_curves

Numbers = dict[str, Any]
SHOWN = ("think", "no_think", "area")


def draw(numbers: Numbers, stages: Mapping[str, Numbers]) -> bytes:
    """The picture as a PNG; a colour a method. stages: the curves' numbers, by checkpoint.

    Left, where the recipes measure while they train: held-out accuracy with thinking against the tokens
    sampled so far, a thin line a seed. Middle: the budget curves, the start dotted. Right: differences from
    the start with their intervals.
    """
    progress = {method: lines for method, lines in numbers["progress"].items() if lines}
    panels = ["progress", "curves", "differences"] if progress else ["curves", "differences"]
    figure = matplotlib.figure.Figure(
        figsize=(4.6 * len(panels), 4.4), dpi=160, facecolor="white", layout="constrained"
    )
    axes = dict(zip(panels, figure.subplots(1, len(panels)), strict=True))
    if progress:
        _progress(axes["progress"], list(numbers["methods"]), progress)
    draw_curves(axes["curves"], numbers["methods"], stages, START)
    _differences(axes["differences"], numbers)
    handles, labels = axes["curves"].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=8, frameon=False, labelcolor=INK)
    return as_png(figure)


def _progress(axes: Axes, methods: Sequence[str], progress: Mapping[str, Sequence[Any]]) -> None:
    for method, seeds in progress.items():
        colour, marker = style(methods.index(method))
        for points in seeds:
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.7, alpha=0.55)
        shared = min(map(len, seeds))
        tokens, accuracy = (
            [sum(points[place][part] for points in seeds) / len(seeds) for place in range(shared)]
            for part in (0, 1)
        )
        axes.plot(tokens, accuracy, color=colour, marker=marker, linewidth=2, markersize=5)
    tidy(axes)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("tokens sampled in training", color=INK)
    axes.set_ylabel("held-out accuracy, thinking", color=INK)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(0, 0))


def _differences(axes: Axes, numbers: Numbers) -> None:
    rows = [row for row in numbers["rows"] if row["method"] != START]
    for number, row in enumerate(rows):
        colour, marker = style(number)
        shift = 0.5 * (number - (len(rows) - 1) / 2) / len(rows)
        for place, name in enumerate(SHOWN):
            found = row["differences"][name]
            axes.errorbar(
                [place + shift],
                [100 * found["mean"]],
                yerr=[[100 * (found["mean"] - found["low"])], [100 * (found["high"] - found["mean"])]],
                fmt=marker,
                color=colour,
                capsize=2.5,
                markersize=5.5,
            )
    tidy(axes)
    axes.axhline(0, color=GREY, linewidth=0.9)
    axes.set_xticks(range(len(SHOWN)), SHOWN)
    axes.set_xlim(-0.6, len(SHOWN) - 0.4)
    axes.set_ylabel("points above the start", color=INK)
