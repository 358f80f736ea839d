"""An ablation as tables of text, for `ablation.md` and the terminal."""

from typing import Any

from evals.budgets import Budget, sort_budgets
from evals.report.headline import problem_sets
from evals.report.tables import Table, budget_name, escape_markdown, markdown
from evals.report.tables.table import accuracy, change, estimate, number, percent, probability
from evals.wording import sentence

Numbers = dict[str, Any]
PLOT = "ablation.png"


def ablation_tables(numbers: Numbers) -> list[Table]:
    """The tables in the order in which they are read."""
    return [
        curve_table(numbers),
        half_table(numbers),
        cut_table(numbers),
        mode_table(numbers),
        length_table(numbers),
        *(difference_table(row) for row in numbers["comparisons"]),
    ]


def as_markdown(numbers: Numbers, title: str) -> str:
    """`ablation.md`; the picture is expected beside it."""
    first = numbers["stages"][0]["problems"]
    head = [
        f"# {escape_markdown(title)}",
        escape_markdown(
            f"{first['n']} problems of {problem_sets(first['sets'])}, greedy, the same for every "
            "stage; every budget answered from one trace, cut as the server cuts. Intervals are 95 %, by "
            "problem."
        ),
        f"![Accuracy of every stage against the thinking budget]({PLOT})",
    ]
    return "\n\n".join([*head, *map(markdown, ablation_tables(numbers))])


def curve_table(numbers: Numbers) -> Table:
    """Stage against thinking, thinking off and every budget."""
    budgets = _budgets(numbers)
    rows = [
        [stage["name"], *(accuracy(points[budget]) if budget in points else "-" for budget in budgets)]
        for stage in numbers["stages"]
        for points in [_by_budget(stage)]
    ]
    names = [{"max": "think", 0: "no_think"}.get(budget, str(budget)) for budget in budgets]
    note = "Accuracy in %: thinking without a limit, without thinking, and cut at so many thinking tokens."
    return Table("Accuracy of every stage", note, ["stage", *names], rows)


def half_table(numbers: Numbers) -> Table:
    """What half of the thinking is worth, and how well switches are followed."""
    rows = []
    for stage in numbers["stages"]:
        half, modes = stage["half"], stage["modes"]
        rows.append(
            [
                stage["name"],
                str(half["n"]),
                accuracy(half),
                accuracy(half["no_think"]),
                change(half["gain"]),
                accuracy({**modes, "accuracy": modes["share"]}),
            ]
        )
    note = (
        "Every trace that ended by itself, cut at half of its own length and answered from there, beside "
        "no_think on the same problems (paired). Follows: the reply thinks, or does not, as it is "
        "told, in %."
    )
    columns = ["stage", "traces", "cut at half", "no_think", "difference", "follows the switches"]
    return Table("Traces cut at half their length, and modes", note, columns, rows)


def cut_table(numbers: Numbers) -> Table:
    """What the budgets cut, and how right the cut replies are."""
    rows = []
    for stage in numbers["stages"]:
        for point in stage["points"]:
            cut = point["cut"]
            if cut["n"]:
                rows.append(
                    [
                        stage["name"],
                        budget_name(point["budget"]),
                        percent(cut["share"]),
                        accuracy(cut),
                        percent(cut["no_think_accuracy"]),
                        change(cut["gain"]),
                    ]
                )
    note = "Replies that the budget cut, beside no_think on the same problems (paired), in %."
    columns = ["stage", "budget", "share cut", "accuracy of the cut", "no_think", "difference"]
    return Table("Cut replies", note, columns, rows)


def mode_table(numbers: Numbers) -> Table:
    """How often each way of switching is followed, stage by stage."""
    stages = numbers["stages"]
    rows = [
        [
            way["way"],
            "think" if way["thinks"] else "no_think",
            *(_share(stage["modes"]["ways"][place]) for stage in stages),
        ]
        for place, way in enumerate(stages[0]["modes"]["ways"])
    ]
    names = [stage["name"] for stage in stages]
    note = "Share of replies in % that think, or do not, as they are told; the last flag wins."
    return Table("Mode following", note, ["told", "expected", *names], rows)


def length_table(numbers: Numbers) -> Table:
    """Mean thinking tokens."""
    budgets = [budget for budget in _budgets(numbers) if budget != 0]
    rows = [
        [
            stage["name"],
            *(number(points[b]["mean_thinking_tokens"]) if b in points else "-" for b in budgets),
            percent(points["max"]["shares"]["censored"]),
        ]
        for stage in numbers["stages"]
        for points in [_by_budget(stage)]
    ]
    columns = ["stage", *map(budget_name, budgets), "ran out %"]
    note = "At each budget; and the share of uncut replies that ran out of tokens while thinking."
    return Table("Mean thinking tokens", note, columns, rows)


def difference_table(row: Numbers) -> Table:
    """One stage against another at every budget, paired by problem."""
    tests = [*row["points"], *([{**row["half"], "budget": "half-cut"}] if row["half"] else [])]
    rows = [
        [
            budget_name(test["budget"]),
            str(test["n"]),
            change(test["difference"]),
            probability(test["p"]),
            probability(test["p_holm"]),
        ]
        for test in tests
    ]
    if row["area"] is not None:
        rows.append(["area", str(row["area"]["n"]), change(row["area"]), "", ""])
    note = (
        f"{sentence(row['verdict'])} Differences in points, paired by problem; p by sign flips, then Holm's "
        "over all of these tables. Half-cut: on problems whose traces both were halved."
    )
    columns = ["budget", "problems", "difference", "p", "p Holm"]
    return Table(f"{row['b']} against {row['a']}", note, columns, rows)


def _budgets(numbers: Numbers) -> list[Budget]:
    found = sort_budgets(point["budget"] for stage in numbers["stages"] for point in stage["points"])
    return ["max", *(budget for budget in found if budget != "max")]


def _by_budget(stage: Numbers) -> dict[Budget, Numbers]:
    return {point["budget"]: point for point in stage["points"]}


def _share(row: Numbers) -> str:
    return estimate({**row, "mean": row["share"]})
