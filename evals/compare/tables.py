"""A comparison of runs as text: tables, verdicts and warnings, for the terminal and as Markdown."""

from typing import Any

from evals.report.tables import Table, clean, escape_markdown, markdown, plain
from evals.report.tables.table import accuracy, bounds, budget_name, change, percent, probability
from evals.wording import listed, sentence

Comparison = dict[str, Any]
_NOTE = (
    "Difference in points, second minus first, paired by problem; the band holds at all budgets together. p: "
    "sign-flip test, then Holm's over all budgets and pairs. Could show: the difference that is found with "
    "80 % power at 5 %."
)


def curve_table(comparison: Comparison) -> Table:
    """The curves of the runs side by side, each on all of its problems."""
    runs = comparison["runs"]
    budgets = list(dict.fromkeys(point["budget"] for run in runs for point in run["points"]))
    cells = {
        (place, point["budget"]): accuracy(point) for place, run in enumerate(runs) for point in run["points"]
    }
    return Table(
        "Curves",
        "Accuracy in %, each run on all of its problems, with 95 % intervals clustered by problem.",
        ["budget", *(run["name"] for run in runs)],
        [[budget_name(b), *(cells.get((i, b), "-") for i in range(len(runs)))] for b in budgets],
    )


def pair_table(pair: dict[str, Any]) -> Table:
    """Two runs at every common budget, on their common problems."""
    rows = [
        [
            budget_name(point["budget"]),
            str(point["n"]),
            percent(point["a"]),
            percent(point["b"]),
            change(point["difference"]),
            bounds(point["band_low"], point["band_high"], "+"),
            probability(point["p"]),
            probability(point["p_holm"]),
            percent(point["mde"]),
        ]
        for point in pair["points"]
    ]
    area = pair["area"]
    if area is not None:
        rows.append(["area", str(area["n"]), "", "", change(area), "", "", "", ""])
    over = "" if area is None else f" Area: mean difference over the token budgets, on {area['scale']}."
    columns = ["budget", "problems", f"{pair['a']} %", f"{pair['b']} %", "difference", "band"]
    columns += ["p", "p Holm", "could show"]
    return Table(f"{pair['b']} against {pair['a']}", _NOTE + over, columns, rows)


def terminal(comparison: Comparison) -> str:
    """The comparison for a terminal."""
    blocks = [plain(curve_table(comparison))]
    for pair in comparison["pairs"]:
        table = pair_table(pair)
        blocks.append(f"{clean(table.title)}\n{plain(table)}\n{clean(sentence(pair['verdict']))}")
    blocks += [clean(f"warning: {text}") for text in comparison["warnings"]]
    return "\n\n".join(blocks)


def as_markdown(comparison: Comparison) -> str:
    """The comparison as a Markdown document."""
    names = escape_markdown(listed([run["name"] for run in comparison["runs"]]))
    parts = [f"# Comparison of {names}\n"]
    parts += [f"{escape_markdown(sentence(pair['verdict']))}\n" for pair in comparison["pairs"]]
    if comparison["warnings"]:
        parts.append("".join(f"- Warning: {escape_markdown(text)}\n" for text in comparison["warnings"]))
    parts.append(markdown(curve_table(comparison)))
    parts += [markdown(pair_table(pair)) for pair in comparison["pairs"]]
    return "\n".join(parts)
