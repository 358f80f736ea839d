"""Write a load test's report: load.json, load.md, load.png, load.html, and a table for the terminal."""

import json
from pathlib import Path
from typing import Any

import matplotlib.figure

from evals.load.summary import Summary, summarise_load
from evals.report.pages.document import Section, document
from evals.report.plot import ALL, CUT, FAINT, INK, as_png, style
from evals.report.tables import Table, clean, escape_markdown, plain
from evals.report.tables import markdown as markdown_table
from evals.wording import listed

NAMES = {"plain": "without shedding", "shedding": "with shedding"}
COLOURS = {"plain": CUT, "shedding": ALL}
FILES = ("load.json", "load.md", "load.html", "load.png")


def write_load_report(directory: Path) -> Summary:
    """Recompute the summary from the store and write `FILES` beside it. Raises as `summarise_load`."""
    summary = summarise_load(directory)
    picture = draw(summary)
    texts = {
        "load.json": json.dumps(summary, indent=1, allow_nan=False) + "\n",
        "load.md": markdown(summary),
        "load.html": page(summary, picture),
    }
    for name, text in texts.items():
        (directory / name).write_text(text, "utf-8")
    (directory / "load.png").write_bytes(picture)
    return summary


def terminal(summary: Summary) -> str:
    """The findings in words and the table, as plain text."""
    return "\n".join([clean(headline(summary)), "", plain(level_table(summary))])


def markdown(summary: Summary) -> str:
    """The report as GitHub's Markdown; the picture is expected beside it."""
    parts = [
        f"# {escape_markdown(_title(summary))}",
        f"**{escape_markdown(headline(summary))}**",
        escape_markdown(setup(summary)),
        "![Latency, accuracy and goodput by load](load.png)",
        markdown_table(level_table(summary)),
    ]
    return "\n\n".join(parts)


def page(summary: Summary, picture: bytes) -> str:
    """The report as one HTML page that requests nothing."""
    section = Section(
        "load",
        "Load",
        "By load",
        "Latency counts from when a request was due to its last token; the dashed line is the target. "
        "Goodput counts right replies that came within it.",
        shown=[level_table(summary)],
        picture=("Latency, accuracy and goodput by load, with and without load shedding", picture),
    )
    return document(
        kind="Load test",
        title=_title(summary),
        headline=headline(summary),
        setup=setup(summary),
        sections=[section],
        data={},
        footer="Made by thinkdial eval load. This page requests nothing from anywhere.",
    )


def level_table(summary: Summary) -> Table:
    """One row for each load and server."""
    rows = []
    for level in sorted(summary["levels"], key=lambda level: (level["load"], level["arm"])):
        latency, accuracy = level["latency"], level["accuracy"]
        rows.append(
            [
                f"{level['load']:g}x, {NAMES[level['arm']]}",
                f"{level['rate']:.1f}",
                f"{level['requests']:,}",
                f"{level['failed']:,}",
                _time(latency["p50"]),
                f"{_time(latency['p95'])} [{_time(latency['p95_low'])}, {_time(latency['p95_high'])}]",
                _percent(latency["within"]),
                f"{_percent(accuracy['mean'])} [{_percent(accuracy['low'])}, {_percent(accuracy['high'])}]",
                f"{level['goodput']:.1f}",
                _percent(level["lowered"]),
                _percent(level["off"]),
                "-" if level["mean_thinking_tokens"] is None else f"{level['mean_thinking_tokens']:.1f}",
            ]
        )
    return Table(
        "Loads",
        f"Target: {summary['target']['seconds']:g} s ({summary['target']['from']}). Accuracy counts every "
        "request, one without a reply as wrong; 95 % intervals, problems as clusters.",
        [
            "load",
            "requests/s",
            "requests",
            "failed",
            "p50 s",
            "p95 s [95 %]",
            "within target %",
            "right % [95 %]",
            "right in time/s",
            "lowered %",
            "turned off %",
            "thinking tokens",
        ],
        rows,
    )


def headline(summary: Summary) -> str:
    """What shedding did at each load above the first, and at the first."""
    levels = {(level["arm"], level["load"]): level for level in summary["levels"]}
    gains = {row["load"]: row for row in summary["comparisons"]}
    target = summary["target"]["seconds"]
    sentences = []
    for load, row in gains.items():
        before, after = (_p95(levels[arm, load], target) for arm in ("plain", "shedding"))
        lowered = levels["shedding", load]["lowered"]
        change = (
            f"accuracy {100 * row['gain']:+.1f} points [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        )
        touched = f"{_percent(lowered)} % of budgets lowered" if lowered else "no budget lowered"
        sentences.append(
            f"At {load:g}x the 95th percentile is {before} the target of {target:g} s without shedding and "
            f"{after} with it; {touched}, {change}."
        )
    return " ".join(sentences) or "No load has been measured with shedding yet."


def setup(summary: Summary) -> str:
    """How the numbers were made."""
    settings, capacity = summary["settings"], summary["capacity"]
    late = max(level["sent_late"] for level in summary["levels"])
    return (
        f"{settings['model']} on {listed(settings['problems'])}, {len(settings['asked'])} problems. 1x is "
        f"{summary['one']:.1f} requests a second: {100 * settings['utilisation']:g} % of the "
        f"{capacity['requests_per_second']:.1f} replies a second that the server gave with "
        f"{capacity['concurrency']} requests at any time. Poisson arrivals for {settings['seconds']:g} s a "
        "load, the same for both servers, which ran one after the other; requests were sent when due, "
        "answered or not, by one process that shared the machine's cores with the server; 95 of 100 were "
        f"sent within {late:.2f} s of then."
        + (" Requests named their kind of problem." if settings["families"] else "")
        + (f" Engines ran at most {slots} requests at once." if (slots := settings["max_num_seqs"]) else "")
    )


def draw(summary: Summary) -> bytes:
    """95th percentiles, accuracies and goodput by load, as PNG."""
    figure = matplotlib.figure.Figure(figsize=(9.6, 3.4), dpi=160, facecolor="white", layout="constrained")
    latency, accuracy, goodput = figure.subplots(1, 3)
    for arm in NAMES:
        levels = sorted(
            (level for level in summary["levels"] if level["arm"] == arm), key=lambda level: level["load"]
        )
        look: dict[str, Any] = {"color": COLOURS[arm], "marker": "o", "markersize": 5, "label": NAMES[arm]}
        timed = [level for level in levels if level["latency"]["p95"] is not None]
        latency.plot([it["load"] for it in timed], [it["latency"]["p95"] for it in timed], **look)
        loads = [level["load"] for level in levels]
        shares = [level["accuracy"] for level in levels]
        means = [share["mean"] for share in shares]
        errors = [
            [share["mean"] - share["low"] for share in shares],
            [share["high"] - share["mean"] for share in shares],
        ]
        accuracy.errorbar(loads, means, yerr=errors, capsize=3, elinewidth=1, **look)
        goodput.plot(loads, [level["goodput"] for level in levels], **look)
    latency.axhline(summary["target"]["seconds"], color=INK, linestyle="--", linewidth=1)
    latency.set_yscale("log")
    accuracy.set_ylim(-0.02, 1.02)
    goodput.set_ylim(bottom=0)
    titles = ("95th percentile, s", "accuracy", "right replies in time, 1/s")
    ticks = sorted({level["load"] for level in summary["levels"]})
    for axes, title in zip((latency, accuracy, goodput), titles, strict=True):
        axes.set_title(title, color=INK, fontsize=10)
        axes.set_xticks(ticks, [f"{load:g}x" for load in ticks])
        axes.grid(axis="y", color=FAINT, linewidth=0.7)
        style(axes)
    accuracy.legend(frameon=False, labelcolor=INK, fontsize=8.5, loc="lower left")
    return as_png(figure)


def _title(summary: Summary) -> str:
    return f"Load shedding: {summary['settings']['model']}"


def _p95(level: dict[str, Any], target: float) -> str:
    p95 = level["latency"]["p95"]
    return "never reached, far above" if p95 is None else f"{p95 / target:.2f} times"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"
