"""The picture of a stage's metrics."""

import math
from collections.abc import Sequence
from pathlib import Path

from evals.files import naming
from trainer.progress.records import read_records

Series = list[tuple[int, float]]
"""(step, value) points; NaN where the value was not finite."""

PANELS: dict[str, tuple[str, ...]] = {
    "loss": ("loss",),
    "reward": ("reward/",),
    "reward model's score": ("learned/", "score/"),
    "pairs told apart": ("accuracy/pairs",),
    "held out: KL to the teacher (nats per token)": ("eval/kl/",),
    "held out: accuracy": ("eval/",),
    "tokens of a reply": ("length/",),
    "entropy (nats per token)": ("entropy",),
    "KL (nats per token)": ("kl",),
    "engine against trainer: KL (nats per token)": ("mismatch/",),
    "share of clipped tokens": ("clip/",),
    "share of groups without variance": ("group/zero_variance",),
    "share of the update": ("update/",),
    "different answers in a group": ("distinct/answers",),
    "share of replies": ("cut/", "truncated/", "mode/", "judge/"),
    "tokens per second": ("tokens_per_second",),
}
"""Panel titles and the metrics in them: whole names, or all that begin with one that ends in a slash.

A metric is drawn in the first panel that takes it.
"""
SHARES = (
    "share of clipped tokens",
    "share of groups without variance",
    "share of the update",
    "share of replies",
    "pairs told apart",
    "held out: accuracy",
)
COLUMNS = 3
DOTS = 40
"""Series of fewer points are drawn with a dot at each."""
SMOOTHED = 200
"""Series of more points are drawn pale, with their running mean over a fiftieth of them."""
LEGEND = 10
"""The most names a legend holds."""


def plot_metrics(folder: Path) -> Path | None:
    """Draw the panels that have data into `metrics.png`; None, and no file, when there is nothing to draw.

    folder: of a stage, with its `metrics.jsonl`; its name is the title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = panels_of(read_series(folder / "metrics.jsonl"))
    if not panels:
        return None
    last = max(points[-1][0] for chosen in panels.values() for points in chosen.values())
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(5 * columns, 3.2 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (title, chosen) in enumerate(panels.items(), start=1):
        axis = figure.add_subplot(rows, columns, place, title=title, xlabel="step")
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.3)
        axis.set_xlim(0, last + max(1, last / 50))
        axis.ticklabel_format(useOffset=False)
        for number, (name, points) in enumerate(chosen.items()):
            steps, values = zip(*points, strict=True)
            color = f"C{number % 10}"
            if len(points) > SMOOTHED:
                axis.plot(steps, values, color=color, alpha=0.25, linewidth=0.7)
                axis.plot(steps, running_mean(values, len(values) // 50), color=color, label=name)
            else:
                axis.plot(
                    steps, values, color=color, marker="o" * (len(points) < DOTS), markersize=3, label=name
                )
        if title in SHARES:
            axis.set_ylim(-0.03, 1.03)
        if tuple(chosen) != PANELS[title]:
            axis.legend(*[part[:LEGEND] for part in axis.get_legend_handles_labels()], fontsize=7)
    figure.suptitle(folder.name)
    path = folder / "metrics.png"
    partial = folder / "metrics.partial.png"
    with naming(partial):
        figure.savefig(partial, dpi=110)
    partial.replace(path)
    return path


def panels_of(series: dict[str, Series]) -> dict[str, dict[str, Series]]:
    """The panels with at least one finite value, and their series."""
    panels: dict[str, dict[str, Series]] = {title: {} for title in PANELS}
    for name, points in series.items():
        title = next((t for t, patterns in PANELS.items() if any(_takes(p, name) for p in patterns)), None)
        if title is not None and any(math.isfinite(value) for _, value in points):
            panels[title][name] = points
    return {title: chosen for title, chosen in panels.items() if chosen}


def read_series(path: Path) -> dict[str, Series]:
    """The metrics of a `metrics.jsonl`, by name."""
    series: dict[str, Series] = {}
    for record in read_records(path):
        for name, value in record.items():
            if name not in ("step", "tokens"):
                series.setdefault(name, []).append((record["step"], math.nan if value is None else value))
    return series


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of what is finite among each value and the `window - 1` before it; NaN without any."""
    means = []
    for end in range(1, len(values) + 1):
        finite = [value for value in values[max(0, end - window) : end] if math.isfinite(value)]
        means.append(sum(finite) / len(finite) if finite else math.nan)
    return means


def _takes(pattern: str, name: str) -> bool:
    return name.startswith(pattern) if pattern.endswith("/") else name == pattern
