"""How the stages of a run learnt, as one picture."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib.figure
from matplotlib.axes import Axes

from trainer.ablation.plot import COLOURS, INK, as_png, tidy
from trainer.progress.plots import Series, read_series, running_mean

COLUMNS = 3
SMOOTHED = 20
"""Means are over so many parts of a series."""
LOSS = "loss"
SHARES = {
    "reward/correctness": "right, sampled",
    "eval/think": "right, thinking",
    "eval/no_think": "right, not thinking",
}
"""What is drawn of a stage of reinforcement learning, and how it is called."""


def draw(folders: Sequence[Path]) -> bytes:
    """A panel for each stage, as one PNG: loss by step, or for RL the shares of replies that are right.

    folders: of the stages, with their `metrics.jsonl`.
    """
    rows = math.ceil(len(folders) / COLUMNS)
    figure = matplotlib.figure.Figure(
        figsize=(9.6, 2.7 * rows), dpi=160, facecolor="white", layout="constrained"
    )
    for place, folder in enumerate(folders, start=1):
        axes = figure.add_subplot(rows, COLUMNS, place)
        series = read_series(folder / "metrics.jsonl")
        shares = {label: series[name] for name, label in SHARES.items() if name in series}
        if shares:
            _shares(axes, shares)
        elif LOSS in series:
            _loss(axes, series[LOSS])
        axes.set_title(folder.name, color=INK, fontsize=10)
        axes.set_xlabel("step", color=INK, fontsize=9)
        tidy(axes)
    return as_png(figure)


def _loss(axes: Axes, points: Series) -> None:
    steps, values = zip(*points, strict=True)
    axes.plot(steps, values, color=COLOURS[0], alpha=0.25, linewidth=0.7)
    axes.plot(steps, running_mean(values, max(1, len(values) // SMOOTHED)), color=COLOURS[0])
    axes.set_yscale("log")
    axes.set_ylabel("loss", color=INK, fontsize=9)


def _shares(axes: Axes, shares: dict[str, Series]) -> None:
    for colour, (label, points) in zip(COLOURS, shares.items(), strict=False):
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, "-o", color=colour, markersize=3, linewidth=1.2, label=label)
    axes.set_ylim(-0.03, 1.03)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
