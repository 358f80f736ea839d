"""Tables of the curve: the points, its shape, the steps between budgets, and its groups."""

from typing import Any

from evals.report.tables.table import (
    Table,
    accuracy,
    bounds,
    budget_name,
    change,
    count,
    estimate,
    number,
    percent,
    probability,
)

Summary = dict[str, Any]


def point_table(summary: Summary) -> Table:
    """The budget curve."""
    rows = []
    for point in summary["points"]:
        cut = point["cut"]
        rows.append(
            [
                str(point["budget"]),
                count(point["n"]),
                accuracy(point),
                percent(cut["share"]),
                accuracy(cut),
                percent(cut["no_think_accuracy"]),
                percent(cut["chance"]),
                number(point["mean_thinking_tokens"]),
                number(point["mean_generated_tokens"]),
            ]
        )
    return Table(
        "Budget curve",
        "Cut: thinking was ended for the model. Off, chance: accuracy with thinking off, and of the best "
        "constant guess, on the problems of the cut replies. Thinking, tokens: means for a reply; inserted "
        "text is not counted.",
        ["budget", "n", "accuracy %", "cut %", "cut accuracy %", "off %", "chance %", "thinking", "tokens"],
        rows,
    )


def interval_table(summary: Summary) -> Table:
    """Three ways to be uncertain about each point."""
    rows = [
        [
            str(point["budget"]),
            count(point["questions"]),
            count(point["samples"]),
            percent(point["accuracy"]),
            bounds(point["low"], point["high"]),
            bounds(point["band_low"], point["band_high"]),
            bounds(point["these_low"], point["these_high"]),
            count(point["missing"]),
        ]
        for point in summary["points"]
    ]
    return Table(
        "Intervals",
        "At 95 %. Pointwise: other problems like these, one budget at a time. Band: the whole curve lies "
        "inside. Decoding: other replies to these same problems. Missing: replies not drawn yet.",
        ["budget", "problems", "samples", "accuracy %", "pointwise", "band", "decoding", "missing"],
        rows,
    )


def shape_table(summary: Summary) -> Table:
    """What the whole curve says: area, peak, the budgets near the peak, over-thinking, flips."""
    curve = summary["curve"]
    rows = []
    if curve["area"] is not None:
        rows.append(["area under the curve, %", estimate(curve["area"]), f"over {curve['area']['scale']}"])
    if curve["peak"] is not None:
        peak = curve["peak"]
        rows.append(["peak accuracy, %", percent(peak["accuracy"]), f"at budget {peak['budget']}"])
    for row in curve["reach"]:
        sure = "-" if row["low"] is None else " to ".join(dict.fromkeys((str(row["low"]), str(row["high"]))))
        reached = "-" if row["budget"] is None else str(row["budget"])
        rows.append([f"smallest budget with {100 * row['share']:g} % of the peak", reached, f"95 %: {sure}"])
    if curve["overthinking"] is not None:
        rows.append(["lost beyond the best budget, points", change(curve["overthinking"]), "over-thinking"])
    if curve["flip_rate"] is not None:
        rows.append(
            ["replies that were right and went wrong, %", percent(curve["flip_rate"]), "at a larger budget"]
        )
    return Table("Shape", "Of the curve over all replies.", ["what", "value", ""], rows)


def difference_table(summary: Summary) -> Table:
    """Paired changes from budget to budget."""
    rows = [
        [
            f"{budget_name(row['from'])} to {budget_name(row['to'])}",
            count(row["n"]),
            change(row),
            probability(row["p"]),
            probability(row["p_holm"]),
        ]
        for row in summary["differences"]
    ]
    return Table(
        "Steps between budgets",
        "Change in accuracy on the same problems, in points. p: sign-flip test; Holm: corrected for the "
        "number of steps.",
        ["budgets", "problems", "change", "p", "p, Holm"],
        rows,
    )


def gain_table(summary: Summary) -> Table:
    """Cut replies against thinking off, on the same problems."""
    rows = [
        [str(point["budget"]), count(point["cut"]["gain"]["n"]), change(point["cut"]["gain"])]
        for point in summary["points"]
        if point["cut"]["gain"] is not None
    ]
    return Table(
        "Cut replies against thinking off",
        "What unfinished thinking buys: change in accuracy from thinking off to a reply that was cut, on the "
        "same problems, in points.",
        ["budget", "problems", "change"],
        rows,
    )


def breakdown_table(summary: Summary, field: str) -> Table:
    """Accuracy by level, subject or set and budget: a row a group, all and cut replies."""
    table = summary[f"by_{field}"]
    budgets = [point["budget"] for point in summary["points"]]
    rows = []
    for group in dict.fromkeys(row["group"] for row in table):
        cells = {row["budget"]: row for row in table if row["group"] == group}
        chance = next((row["chance"] for row in cells.values() if row["chance"] is not None), None)
        size = max(row["n"] for row in cells.values())
        known = [cells.get(budget) for budget in budgets]
        everything = [percent(cell["accuracy"]) if cell else "-" for cell in known]
        cut = [
            f"{percent(cell['cut_accuracy'])} ({cell['cut_n']})" if cell and cell["cut_n"] else "-"
            for cell in known
        ]
        rows.append([str(group), "all", count(size), percent(chance), *everything])
        rows.append([str(group), "cut", "", "", *cut])
    return Table(
        f"By {field}",
        "Accuracy in %, of all replies and of the cut ones (how many). Chance: the best constant guess.",
        [field, "replies", "n", "chance", *map(str, budgets)],
        rows,
    )


def cut_share_table(summary: Summary) -> Table:
    """Accuracy of cut replies by subject and share of thinking done."""
    rows = []
    for row in summary["cut_by_subject_and_share"]:
        above = None if row["chance"] is None else row["accuracy"] - row["chance"]
        rows.append(
            [
                "all" if row["subject"] is None else row["subject"],
                row["thinking_done"],
                count(row["n"]),
                accuracy(row),
                percent(row["chance"]),
                "-" if above is None else f"{100 * above:+.1f}",
            ]
        )
    return Table(
        "Cut replies by share of thinking done",
        "Thinking kept as a share of the trace's natural length; replies of all budgets together.",
        ["subject", "thinking done", "n", "accuracy %", "chance %", "above chance"],
        rows,
    )
