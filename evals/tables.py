"""The tables of a report, as text cells: the terminal and the HTML page show the same numbers."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of text; `note` explains what the numbers are."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]


def point_table(summary: dict[str, Any]) -> Table:
    """The budget curve."""
    rows = []
    for point in summary["points"]:
        rows.append(
            [
                str(point["budget"]),
                str(point["n"]),
                with_interval(point, ""),
                percent(point["cut_share"]),
                with_interval(point, "cut_") if point["cut_n"] else "-",
                percent(point["no_think_accuracy_on_cut"]),
                percent(point["cut_chance"]),
                number(point["mean_thinking_tokens"]),
                number(point["mean_generated_tokens"]),
                percent(point["censored_share"]),
                percent(point["ended_boxed_share"]),
            ]
        )
    return Table(
        "Budget curve",
        "Cut: thinking was ended by the budget. Off, chance: accuracy with thinking off, and of the best "
        "constant guess, on the problems of the cut replies. Unfinished: max_tokens ran out while thinking. "
        "Ended, boxed: replies that ended by themselves with a boxed answer. Tokens are means for a reply; "
        "inserted text is not counted.",
        [
            "budget",
            "n",
            "accuracy %",
            "cut %",
            "cut accuracy %",
            "off %",
            "chance %",
            "thinking",
            "tokens",
            "unfinished %",
            "ended, boxed %",
        ],
        rows,
    )


def difference_table(summary: dict[str, Any]) -> Table:
    """Paired changes from budget to budget, and of cut replies against thinking off."""
    rows = [
        ["all replies", f"{row['from']} to {row['to']}", str(row["n"]), signed(row)]
        for row in summary["differences"]
    ]
    for point in summary["points"]:
        gain = point["cut_minus_no_think"]
        if gain is not None:
            rows.append(["cut replies", f"thinking off to {point['budget']}", str(gain["n"]), signed(gain)])
    return Table(
        "Paired differences",
        "Change in accuracy on the same problems, in points, with Student t intervals over problems.",
        ["replies", "budgets", "problems", "change"],
        rows,
    )


def breakdown_table(summary: dict[str, Any], field: str, title: str) -> Table:
    """Accuracy by level or subject and budget: a row a group, all and cut replies."""
    table = summary[f"by_{field}"]
    budgets = [point["budget"] for point in summary["points"]]
    rows = []
    for group in dict.fromkeys(row[field] for row in table):
        cells = {row["budget"]: row for row in table if row[field] == group}
        chance = next((row["chance"] for row in cells.values() if row["chance"] is not None), None)
        size = max(row["n"] for row in cells.values())
        rows.append(
            [str(group), "all", str(size), percent(chance), *(percent(cells[b]["accuracy"]) for b in budgets)]
        )
        cut = [
            f"{percent(cells[b]['cut_accuracy'])} ({cells[b]['cut_n']})" if cells[b]["cut_n"] else "-"
            for b in budgets
        ]
        rows.append(["", "cut", "", "", *cut])
    return Table(
        title,
        "Accuracy in %, of all replies and of the cut ones (how many). Chance: the best constant guess.",
        [field, "replies", "n", "chance", *map(str, budgets)],
        rows,
    )


def cut_share_table(summary: dict[str, Any]) -> Table:
    """Accuracy of cut replies by subject and share of thinking done."""
    rows = []
    for row in summary["cut_by_subject_and_share"]:
        above = None if row["chance"] is None else row["accuracy"] - row["chance"]
        rows.append(
            [
                "all" if row["subject"] is None else row["subject"],
                row["thinking_done"],
                str(row["n"]),
                with_interval(row, ""),
                percent(row["chance"]),
                "-" if above is None else f"{100 * above:+.1f}",
            ]
        )
    return Table(
        "Cut replies by subject and share of thinking done",
        "Budget as a share of the trace's natural length; replies of all budgets together.",
        ["subject", "thinking done", "n", "accuracy %", "chance %", "above chance"],
        rows,
    )


def cost_table(summary: dict[str, Any]) -> Table:
    """What was generated for the run."""
    totals = summary["totals"]
    rows = [
        [kind, str(count), f"{totals['generated_tokens'][kind]:,}"]
        for kind, count in totals["replies"].items()
    ]
    rows.append(["all", str(sum(totals["replies"].values())), f"{totals['all_generated_tokens']:,}"])
    return Table(
        "Cost",
        "Replies drawn and tokens decoded for them; prompts are not counted.",
        ["kind", "replies", "generated tokens"],
        rows,
    )


def failure_table(summary: dict[str, Any]) -> Table:
    """Requests the server refused."""
    rows = [
        [row["problem"], str(row["sample"]), str(row["budget"]), row["error"]]
        for row in summary["failed"]["requests"]
    ]
    return Table("Refused requests", "", ["problem", "sample", "budget", "error"], rows)


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def with_interval(row: dict[str, Any], prefix: str) -> str:
    """An accuracy and its interval, in percent."""
    if row[f"{prefix}accuracy"] is None:
        return "-"
    low, high = 100 * row[f"{prefix}low"], 100 * row[f"{prefix}high"]
    return f"{percent(row[f'{prefix}accuracy'])} [{low:.1f}, {high:.1f}]"


def signed(row: dict[str, Any]) -> str:
    """A difference and its interval, in points."""
    return f"{100 * row['mean']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
