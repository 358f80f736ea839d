"""A comparison of runs as one HTML page that needs nothing else: curves, paired differences, verdicts."""

from typing import Any

from evals.budgets import Budget, sort_budgets
from evals.compare.tables import curve_table, pair_table
from evals.report.pages.document import Section, document
from evals.report.plot import positions
from evals.wording import sentence

Comparison = dict[str, Any]


def compare_page(comparison: Comparison) -> str:
    """The page as text. `comparison`: what `evals.compare.compare.compare` gives."""
    runs, pairs = comparison["runs"], comparison["pairs"]
    budgets: list[Budget] = sort_budgets(point["budget"] for run in runs for point in run["points"])
    curves = Section(
        "curves",
        "Curves",
        "The curves",
        "Accuracy of all replies, each run on all of its problems, with 95 % bands. On the same problems the "
        "runs differ less by chance than these bands suggest: the differences below are paired.",
        [("compared-curves", {})],
        tables=[curve_table(comparison)],
    )
    return document(
        kind="Comparison of budget curves, paired by problem",
        title=" against ".join(run["name"] for run in runs),
        headline=" ".join(sentence(pair["verdict"]) for pair in pairs),
        setup=_setup(comparison),
        sections=[curves, *(_pair(pair, place) for place, pair in enumerate(pairs))],
        data={
            "axis": comparison["axis"],
            "runs": [{"name": run["name"], "points": run["points"]} for run in runs],
            "pairs": pairs,
            "budgets": budgets,
            "places": positions(budgets),
        },
        footer="Made by thinkdial eval compare. This page requests nothing from anywhere.",
    )


def _pair(pair: dict[str, Any], place: int) -> Section:
    names = f"{pair['b']} against {pair['a']}"
    return Section(
        f"pair-{place}",
        names,
        names,
        f"{sentence(pair['verdict'])} The dark band holds each difference and the light band all of them, "
        f"at 95 %; above zero {pair['b']} is better.",
        [("compared-differences", {"data-pair": str(place)})],
        shown=[pair_table(pair)],
    )


def _setup(comparison: Comparison) -> str:
    runs = "; ".join(
        f"{run['name']}: {run['model']}, {run['problems']} problems, {run['mode']}"
        for run in comparison["runs"]
    )
    warnings = "".join(f" Mind: {sentence(text)}" for text in comparison["warnings"])
    return f"{runs}. All graded by {comparison['grader']}.{warnings}"
