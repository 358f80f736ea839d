"""How the arms of a study trained, as a picture: lengths by correctness, and where updates came from."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.figure
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from trainer.ablation.plot import INK, as_png, style, tidy
from trainer.progress.plots import running_mean
from trainer.study.training import LENGTHS, SHARES

Numbers = dict[str, Any]
PLOT = "training.png"
DASHES = {LENGTHS[0]: "-", LENGTHS[1]: "--", SHARES[0]: "-", SHARES[1]: "--"}
NAMES = {LENGTHS[0]: "right", LENGTHS[1]: "wrong", SHARES[0]: "nearly solved", SHARES[1]: "nearly hopeless"}
SMOOTH = 10
"""Curves are running means over this part of the steps."""


def draw_training(numbers: Numbers) -> bytes:
    """The series of `training_numbers`: a colour an arm, thick the mean of its seeds, thin each; as a PNG."""
    drawn = next(iter(numbers["series"].values()))
    panels = {
        title: [metric for metric in metrics if metric in drawn]
        for title, metrics in (("tokens of a reply", LENGTHS), ("share of the update", SHARES))
        if any(metric in drawn for metric in metrics)
    }
    figure = matplotlib.figure.Figure(figsize=(9.6, 4.2), dpi=160, facecolor="white", layout="constrained")
    for place, (title, metrics) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), place)
        for number, series in enumerate(numbers["series"].values()):
            for metric in metrics:
                _lines(axes, series[metric], style(number)[0], DASHES[metric])
        tidy(axes)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step", color=INK)
        axes.set_ylabel(title, color=INK)
        kinds = [Line2D([], [], color=INK, linestyle=DASHES[m], label=NAMES[m]) for m in metrics]
        axes.legend(handles=kinds, frameon=False, labelcolor=INK, fontsize=9.5)
        if metrics[0] in SHARES:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    arms = [
        Line2D([], [], color=style(number)[0], linewidth=2, label=arm)
        for number, arm in enumerate(numbers["series"])
    ]
    figure.legend(handles=arms, loc="outside upper left", ncols=4, frameon=False, labelcolor=INK)
    return as_png(figure)


def _lines(axes: Axes, seeds: Sequence[Sequence[float | None]], colour: str, dashes: str) -> None:
    smooth = [_smooth(values) for values in seeds]
    for values in smooth:
        axes.plot(range(1, len(values) + 1), values, dashes, color=colour, linewidth=0.6, alpha=0.45)
    shared = min(map(len, smooth))
    mean = [sum(values[step] for values in smooth) / len(smooth) for step in range(shared)]
    axes.plot(range(1, shared + 1), mean, dashes, color=colour, linewidth=2)


def _smooth(values: Sequence[float | None]) -> list[float]:
    known = [math.nan if value is None else value for value in values]
    return running_mean(known, max(1, len(known) // SMOOTH))
