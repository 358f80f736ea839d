"""A study in words, tables and a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
from matplotlib.axes import Axes

from evals.budgets import Budget, sort_budgets
from evals.report.plot import positions
from evals.report.tables import Table, budget_name, escape_markdown, markdown
from evals.report.tables.table import bounds, change, percent, probability
from evals.wording import listed, sentence
from trainer.ablation.plot import INK, as_png, style, tidy
from trainer.study.training import sentences
from trainer.study.training_plot import PLOT as TRAINING_PLOT

Numbers = dict[str, Any]
PLOT = "study.png"
GREY = "#5f6a76"
_NOTE = (
    "Accuracy in %, the mean of all seeds; differences in points. The unit is one problem answered by the "
    "two models of one seed; the interval is for other problems and other seeds, both taken as samples "
    "(crossed random effects, Satterthwaite's degrees of freedom), the last but two for other problems and "
    "these very seeds. p: for other problems and seeds, then Holm's over all budgets and arms; the area, one "
    "test named beforehand, is not adjusted."
)


def headline(numbers: Numbers) -> str:
    """Which arm helps, by the area under the curve, and at which budgets."""
    return " ".join(_sentence(numbers, comparison) for comparison in numbers["comparisons"])


def _sentence(numbers: Numbers, comparison: Numbers) -> str:
    arm, area = comparison["arm"], comparison["area"]
    parts = []
    if area is not None:
        parts.append(
            f"{arm} against {numbers['baseline']}: {area['verdict']} over the token budgets together "
            f"({change(area)} points; below {100 * numbers['worthwhile']:g} it would not be worth having)"
        )
    for verdict in ("helps", "does not help", "undecided"):
        places = [row["budget"] for row in comparison["rows"] if row["verdict"] == verdict]
        if places:
            parts.append(f"{verdict} at {listed([budget_name(place) for place in places])}")
    return sentence("; ".join(parts))


def comparison_table(numbers: Numbers, comparison: Numbers) -> Table:
    """One arm against the baseline at every budget."""
    baseline, arm = numbers["baseline"], comparison["arm"]
    seeds = len(numbers["arms"][arm])
    named = [(budget_name(row["budget"]), row) for row in comparison["rows"]]
    if comparison["area"] is not None:
        named.append(("area", comparison["area"]))
    rows = [
        [
            name,
            str(row["problems"]),
            percent(row["baseline"]),
            percent(row["with"]),
            change(row),
            " ".join(f"{100 * value:+.1f}" for value in row["by_seed"]),
            bounds(row["problems_low"], row["problems_high"], "+"),
            probability(row.get("p_holm", row["p"])),
            row["verdict"],
        ]
        for name, row in named
    ]
    columns = ["budget", "problems", f"{baseline} %", f"{arm} %", "difference", "by seed", "these seeds"]
    return Table(f"{arm} against {baseline}, {seeds} seeds", _NOTE, [*columns, "p", "verdict"], rows)


def as_markdown(numbers: Numbers, title: str) -> str:
    """`study.md`; the pictures are expected beside it."""
    head = [
        f"# {escape_markdown(title)}",
        f"**{escape_markdown(headline(numbers))}**",
        f"![Curves of all arms and seeds]({PLOT})",
    ]
    if numbers["training"] is not None:
        head += [
            f"![Training: lengths by correctness, and where updates came from]({TRAINING_PLOT})",
            escape_markdown(" ".join(sentences(numbers["training"]))),
        ]
    tables = [comparison_table(numbers, comparison) for comparison in numbers["comparisons"]]
    return "\n\n".join([*head, *map(markdown, tables)])


def draw(numbers: Numbers, stages: Mapping[str, Numbers], start: str | None) -> bytes:
    """The curves beside the differences from the baseline, with intervals for other problems and seeds.

    stages: the ablation's numbers of every stage, by name. Returns a PNG.
    """
    figure = matplotlib.figure.Figure(figsize=(9.6, 4.4), dpi=160, facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.4, 1])
    places = draw_curves(left, numbers["arms"], stages, start)
    for number, comparison in enumerate(numbers["comparisons"], start=1):
        colour, marker = style(number)
        rows = [row for row in comparison["rows"] if row["budget"] in places]
        right.errorbar(
            [places[row["budget"]] for row in rows],
            [100 * row["mean"] for row in rows],
            yerr=[
                [100 * (row["mean"] - row["low"]) for row in rows],
                [100 * (row["high"] - row["mean"]) for row in rows],
            ],
            fmt=marker,
            color=colour,
            capsize=2.5,
            markersize=5.5,
        )
    right.axhline(0, color=INK, linewidth=0.9)
    right.axhline(100 * numbers["worthwhile"], color=GREY, linewidth=0.9, linestyle="--")
    right.set_ylabel(f"points above {numbers['baseline']}", color=INK, parse_math=False)
    budget_axis(right, places)
    left.legend(frameon=False, labelcolor=INK, fontsize=9.5)
    return as_png(figure)


def draw_curves(
    axes: Axes, arms: Mapping[str, Sequence[str]], stages: Mapping[str, Numbers], start: str | None
) -> dict[Budget, float]:
    """A thin line for every seed, a thick one for each arm's mean, the start dotted; returns the budgets' x.

    arms: the stages of each, seed by seed. stages: what has `points`, by name.
    """
    budgets: list[Budget] = sort_budgets(p["budget"] for stage in stages.values() for p in stage["points"])
    places = dict(zip(budgets, positions(budgets), strict=True))
    if start is not None:
        found = _accuracies(stages[start])
        axes.plot(*_line(found, places), ":", color=GREY, linewidth=1.6, label=start)
    for number, (arm, names) in enumerate(arms.items()):
        colour, marker = style(number)
        seeds = [_accuracies(stages[name]) for name in names]
        for seed in seeds:
            axes.plot(*_line(seed, places), color=colour, linewidth=0.7, alpha=0.55)
        shared = [b for b in budgets if all(b in seed for seed in seeds)]
        means = {budget: sum(seed[budget] for seed in seeds) / len(seeds) for budget in shared}
        axes.plot(*_line(means, places), color=colour, marker=marker, linewidth=2, markersize=5.5, label=arm)
    axes.set_ylabel("accuracy", color=INK)
    axes.set_ylim(-0.02, 1.02)
    budget_axis(axes, places)
    return places


def budget_axis(axes: Axes, places: Mapping[Budget, float]) -> None:
    """Budgets along x."""
    tidy(axes)
    axes.set_xticks(list(places.values()), [budget_name(budget) for budget in places])
    axes.set_xlabel("thinking budget in tokens", color=INK)


def _accuracies(stage: Numbers) -> dict[Budget, float]:
    return {p["budget"]: p["accuracy"] for p in stage["points"] if p["accuracy"] is not None}


def _line(values: Mapping[Budget, float], places: Mapping[Budget, float]) -> tuple[list[float], list[float]]:
    return [places[budget] for budget in values], list(values.values())
