"""Tables of the account: what was drawn and paid for, what failed, and what was asked."""

from collections.abc import Iterator
from typing import Any

from evals.report.tables.table import Table, count, number

Summary = dict[str, Any]


def cost_table(summary: Summary) -> Table:
    """What was generated for the run."""
    totals = summary["totals"]
    rows = [
        [kind, count(replies), count(totals["generated_tokens"].get(kind))]
        for kind, replies in totals["replies"].items()
    ]
    rows.append(["all", count(sum(totals["replies"].values())), count(totals["all_generated_tokens"])])
    return Table(
        "Replies and tokens",
        "Replies drawn and tokens decoded for them; the thinking of a fork was decoded once, for its trace.",
        ["kind", "replies", "generated tokens"],
        rows,
    )


def account_table(summary: Summary) -> Table:
    """Prompts, requests, time and money."""
    totals = summary["totals"]
    rows = [
        ["prompt tokens", count(totals["prompt_tokens"])],
        ["thinking tokens", count(totals["thinking_tokens"])],
        ["requests sent", count(totals["attempts"])],
        ["seconds of requests, summed", number(totals["seconds"])],
    ]
    cost = totals["cost"]
    if cost is not None:
        rows += [
            [f"{name}, {cost['currency']}", number(cost[key], 2)]
            for name, key in (("cost of input", "input"), ("cost of output", "output"), ("cost", "total"))
        ]
    return Table("Account", "", ["what", "amount"], [row for row in rows if row[1] != "-"])


def failure_table(summary: Summary) -> Table:
    """Requests the server refused."""
    rows = [
        [row["problem"], str(row["sample"]), str(row["budget"]), row["error"]]
        for row in summary["failed"]["requests"]
    ]
    return Table("Refused requests", "", ["problem", "sample", "budget", "error"], rows)


def missing_table(summary: Summary) -> Table:
    """Problems that lack replies."""
    rows = [[problem] for problem in summary["failed"]["incomplete_problems"]]
    note = "Run the sweep again to draw them."
    return Table("Problems that lack replies", note, ["problem"], rows)


def settings_table(summary: Summary) -> Table:
    """Everything the replies and grades depend on, flattened."""
    rows = [["axis", str(summary["axis"])], ["grader", str(summary["grader"])]]
    groups = {"grading": "grading_options", "": "settings", "plan": "plan", "versions": "versions"}
    for group, field in groups.items():
        rows += [[name, value] for name, value in _flat(group, summary[field])]
    return Table("Settings", "", ["setting", "value"], rows)


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for member, inner in value.items():
            yield from _flat(f"{name}.{member}" if name else str(member), inner)
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value))
    else:
        yield name, "-" if value is None else str(value)
