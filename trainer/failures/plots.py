"""The three failures as pictures: one PNG each, the same numbers giving the same bytes."""

import io
import math
from collections.abc import Sequence

import matplotlib.figure
from matplotlib.axes import Axes

from trainer.ablation.plot import FAINT, INK, style
from trainer.failures.calibration import SOURCES
from trainer.failures.curves import Numbers
from trainer.failures.overoptimization import over_optimizes

PALE = "#5f6a76"
WIDTH = 9.6


def over_optimization(numbers: Numbers) -> bytes:
    """A panel a route: proxy and true reward against the square root of KL, the true one's peak dotted."""
    routes = numbers["routes"]
    figure = _figure(4.6)
    panels = figure.subplots(1, len(routes), sharey=True, squeeze=False)[0]
    for axes, route in zip(panels, routes, strict=True):
        x = [math.sqrt(max(kl, 0.0)) for kl in route["kl"]["mean"]]
        for number, (key, label) in enumerate(
            (("proxy", "proxy: the reward trained on"), ("true", "true: share right"))
        ):
            colour, marker = style(number)
            _band(axes, x, route[key], colour, marker, label)
        peak = route["peak"]
        axes.axvline(x[peak], color=PALE, linewidth=0.9, linestyle=":", label="peak of the true reward")
        for place in _spread_out(x):
            axes.annotate(
                str(route["places"][place]),
                (x[place], route["true"]["mean"][place]),
                xytext=(0, -13),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=PALE,
            )
        fall = route["fall"]
        told = "over-optimised" if over_optimizes(route) else "no fall shown"
        axes.set_title(
            f"{route['name']}: {told}\nfrom its peak {100 * fall['mean']:+.1f} points "
            f"[{100 * fall['low']:+.1f}, {100 * fall['high']:+.1f}]",
            fontsize=9.5,
            color=INK,
            parse_math=False,
        )
        unit = "n" if route["pressure"] == "n =" else "steps"
        axes.set_xlabel(f"√KL from the start\n(nats per reply; labels: {unit})", color=INK)
        _dress(axes)
    panels[0].set_ylabel("reward", color=INK)
    _legend(figure, panels[0])
    return _png(figure)


def mode_collapse(numbers: Numbers) -> bytes:
    """Entropy, distinct replies and accuracy against steps, a line an arm."""
    kind = "distinct_thinking" if numbers["thinks"] else "distinct_answers"
    noun = "thinking texts" if numbers["thinks"] else "answers"
    titles = {
        "entropy": "entropy (nats per token)",
        kind: f"distinct {noun} among {numbers['draws']}",
        "pass_at_1": "accuracy (filled: one reply;\nopen: any of " + f"{numbers['k']})",
    }
    figure = _figure(3.9)
    panels = figure.subplots(1, len(titles))
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        for number, arm in enumerate(numbers["arms"]):
            colour, marker = style(number)
            _band(axes, arm["steps"], arm[key], colour, marker, arm["name"])
            if key == "pass_at_1":
                open_line = arm["pass_at_k"]["mean"]
                axes.plot(
                    arm["steps"],
                    open_line,
                    "--",
                    marker=marker,
                    color=colour,
                    markerfacecolor="white",
                    markersize=5,
                    linewidth=1.2,
                )
        axes.set_title(title, fontsize=10, color=INK)
        axes.set_xlabel("steps of RL", color=INK)
        axes.set_ylim(bottom=0)
        _dress(axes)
    _legend(figure, panels[0])
    return _png(figure)


def calibration(numbers: Numbers) -> bytes:
    """Of the first arm: a reliability diagram for each source of confidence, then the errors by step."""
    arm = numbers["arms"][0]
    figure = _figure(4.2)
    *diagrams, errors = figure.subplots(1, len(SOURCES) + 1)
    for axes, (source, words) in zip(diagrams, SOURCES.items(), strict=True):
        found = arm["sources"][source]
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.9, linestyle=":")
        most = max((b["n"] for bins in found["bins"] for b in bins), default=1)
        for number, (label, bins) in enumerate(zip(("before", "after"), found["bins"], strict=True)):
            colour, marker = style(number)
            axes.errorbar(
                [b["confidence"] for b in bins],
                [b["accuracy"] for b in bins],
                yerr=[[b["accuracy"] - b["low"] for b in bins], [b["high"] - b["accuracy"] for b in bins]],
                color=colour,
                linewidth=1.4,
                elinewidth=0.9,
                capsize=2,
                label=label,
            )
            sizes = [12 + 110 * b["n"] / most for b in bins]
            axes.scatter(
                [b["confidence"] for b in bins],
                [b["accuracy"] for b in bins],
                s=sizes,
                color=colour,
                marker=marker,
                zorder=3,
            )
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        axes.set_title(f"by the {words}", fontsize=9.5, color=INK)
        axes.set_xlabel("confidence", color=INK)
        _dress(axes)
    diagrams[0].set_ylabel("share right", color=INK)
    diagrams[0].legend(frameon=False, labelcolor=INK, fontsize=9.5, loc="upper left")
    for number, (source, words) in enumerate(SOURCES.items(), start=2):
        colour, marker = style(number)
        _band(errors, arm["steps"], arm["sources"][source]["ece"], colour, marker, words)
    errors.set_title("expected calibration error", fontsize=9.5, color=INK)
    errors.set_xlabel(f"steps of {arm['name']}", color=INK, parse_math=False)
    errors.set_ylim(bottom=0)
    errors.legend(frameon=False, labelcolor=INK, fontsize=8)
    _dress(errors)
    return _png(figure)


def _legend(figure: matplotlib.figure.Figure, axes: Axes) -> None:
    """Above all panels, as they share it."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper left", ncols=4, frameon=False, labelcolor=INK, fontsize=9.5
    )


def _figure(height: float) -> matplotlib.figure.Figure:
    return matplotlib.figure.Figure(figsize=(WIDTH, height), dpi=160, facecolor="white", layout="constrained")


def _band(axes: Axes, x: Sequence[float], curve: Numbers, colour: str, marker: str, label: str) -> None:
    axes.plot(x, curve["mean"], color=colour, marker=marker, markersize=5, linewidth=1.8, label=label)
    axes.fill_between(x, curve["low"], curve["high"], color=colour, alpha=0.15, linewidth=0)


def _spread_out(x: Sequence[float]) -> list[int]:
    """Places far enough apart for their labels not to touch; the last is one."""
    least = (max(x) - min(x)) / 14
    kept = [len(x) - 1]
    for place in range(len(x) - 2, -1, -1):
        if abs(x[kept[-1]] - x[place]) >= least:
            kept.append(place)
    return kept


def _dress(axes: Axes) -> None:
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)


def _png(figure: matplotlib.figure.Figure) -> bytes:
    output = io.BytesIO()
    figure.savefig(output, format="png", metadata={"Software": None}, facecolor="white")
    return output.getvalue()
