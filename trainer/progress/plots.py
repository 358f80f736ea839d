"""The picture of a stage's metrics."""

from pathlib import Path
from typing import Any

from trainer.progress.records import read_records

PANELS: dict[str, tuple[str, ...]] = {
    "loss": ("loss",),
    "reward": ("reward/",),
    "tokens in a reply": ("length/",),
    "entropy (nats per token)": ("entropy",),
    "KL (nats)": ("kl", "mismatch/kl"),
    "share of clipped tokens": ("clip/",),
    "share of groups, replies": ("group/zero_variance", "cut/", "truncated/", "mode/following"),
    "held out": ("eval/",),
}
"""Panel titles and the metrics in them: whole names, or all that begin with one that ends in a slash."""


def plot_metrics(folder: Path, title: str) -> Path | None:
    """Draw the panels that have data into `metrics.png`; None when there is nothing to draw."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    series = read_series(folder / "metrics.jsonl")
    panels = {
        panel: chosen
        for panel, patterns in PANELS.items()
        if (chosen := {n: v for n, v in series.items() if any(_matches(n, p) for p in patterns)})
    }
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(5 * columns, 3.2 * rows), squeeze=False, layout="constrained"
    )
    for axis, (panel, chosen) in zip(axes.flat, panels.items(), strict=False):
        for name, points in chosen.items():
            steps, values = zip(*points, strict=True)
            axis.plot(steps, values, marker="o" if len(points) < 40 else None, markersize=3, label=name)
        axis.set_title(panel, fontsize=10)
        axis.grid(alpha=0.3)
        if len(chosen) > 1:
            axis.legend(fontsize=7)
    for axis in list(axes.flat)[len(panels) :]:
        axis.axis("off")
    figure.suptitle(title)
    path = folder / "metrics.png"
    partial = path.with_name("metrics.partial.png")
    figure.savefig(partial, dpi=110)
    pyplot.close(figure)
    partial.replace(path)
    return path


def read_series(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Each metric's (step, value) points; values that were not finite are NaN."""
    series: dict[str, list[tuple[int, float]]] = {}
    for record in read_records(path):
        for name, value in record.items():
            if name not in ("step", "tokens"):
                series.setdefault(name, []).append((record["step"], _number(value)))
    return series


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern) if pattern.endswith("/") else name == pattern
