"""A comparison in words and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.report.headline import problem_sets
from evals.report.tables import Table, escape_markdown, markdown
from evals.report.tables.table import bounds, change, number, percent, probability
from evals.wording import listed
from trainer.compare.methods import START, alike

Numbers = dict[str, Any]
PLOT = "comparison.png"
_COLUMNS = {
    "think": "think %",
    "no_think": "no_think %",
    "area": "area %",
    "length": "tokens",
    "entropy": "entropy",
    "ece": "ECE %",
    "kl": "KL to start",
}
_DIGITS = {"length": 1, "entropy": 3, "kl": 2}
_NOTE = (
    "think, no_think and area (mean over the token budgets, on a log scale): accuracy of greedy replies. Of "
    "replies sampled at temperature 1, thinking: tokens; entropy of next tokens, nats; expected calibration "
    "error of the answers' probabilities in ten bins, on problems that all models answer, which is above 0 "
    "for perfect ones too; KL(method || start) of whole replies, nats, from both models' distributions at "
    "every token. Below each method its differences from the start, in points where it is %. 95 % intervals "
    "for other problems and other seeds alike (crossed random effects), the start's for other problems. "
    "Tokens and minutes of training are means over seeds; other work on the machine makes minutes longer."
)


def headline(numbers: Numbers) -> str:
    """Which methods are above their start, and which of them above which others."""
    told = [_against_start(row) for row in numbers["rows"] if row["method"] != START]
    clear = [row for row in numbers["between"] if row["p_holm"] < 0.05]
    for row in clear:
        better, worse = (row["second"], row["first"]) if row["mean"] > 0 else (row["first"], row["second"])
        told.append(
            f"{better} is above {worse} in {row['quantity']} by {abs(100 * row['mean']):.1f} points "
            f"(p {probability(row['p_holm'])} after Holm)."
        )
    if not clear:
        told.append("No difference between the methods is shown.")
    return " ".join(told)


def _against_start(row: Numbers) -> str:
    think = row["differences"]["think"]
    if think["low"] > 0:
        verdict = "improves thinking accuracy over the start"
    elif think["high"] < 0:
        verdict = "is worse than the start with thinking"
    else:
        verdict = "is not shown to differ from the start with thinking"
    return f"{row['method']} {verdict} ({change(think)} points)."


def main_table(numbers: Numbers) -> Table:
    """A row of values for the start and each method, and one of differences below each method."""
    rows = []
    for row in numbers["rows"]:
        account = row["account"]
        rows.append(
            [
                row["method"],
                *(_value(name, row["values"][name]) for name in _COLUMNS),
                *(["-"] * 3 if account is None else _account(account)),
            ]
        )
        if row["differences"] is not None:
            rows.append(
                [
                    f"{row['method']} - {START}",
                    *(_change(name, row["differences"].get(name)) for name in _COLUMNS),
                    *["-"] * 3,
                ]
            )
    problems, seeds = numbers["problems"], numbers["seeds"]
    title = f"{problems['n']} problems of {problem_sets(problems['sets'])}, {len(seeds)} seeds"
    columns = ["method", *_COLUMNS.values(), "rollout tokens", "trained tokens", "minutes"]
    return Table(title, " ".join([_NOTE, *numbers["uneven"]]), columns, rows)


def between_table(numbers: Numbers) -> Table:
    """Methods against each other, seed by seed."""
    rows = [
        [
            f"{row['second']} - {row['first']}",
            row["quantity"],
            change(row),
            " ".join(f"{100 * value:+.1f}" for value in row["by_seed"]),
            probability(row["p_holm"]),
        ]
        for row in numbers["between"]
    ]
    note = "Differences in points, paired by problem and seed; p for other problems and seeds, then Holm's."
    return Table("Methods against each other", note, ["methods", "of", "difference", "by seed", "p"], rows)


def as_markdown(numbers: Numbers) -> str:
    """`comparison.md`; the picture is expected beside it."""
    methods = [row["method"] for row in numbers["rows"] if row["method"] != START]
    head = [
        f"# {escape_markdown(listed(methods))} from one start",
        f"**{escape_markdown(headline(numbers))}**",
        f"![Accuracy of every method while it trains, by budget, and above the start]({PLOT})",
    ]
    return "\n\n".join([*head, *map(markdown, (main_table(numbers), between_table(numbers)))])


def unevenly_used(accounts: Mapping[str, Numbers]) -> list[str]:
    """A sentence on methods that sampled more tokens than the thriftiest; [] where all are alike."""
    used = {method: account["rollout_tokens"] for method, account in accounts.items()}
    least = min(used, key=lambda method: used[method])
    if used[least] == 0:
        return []
    more = [
        f"{method} {tokens / used[least]:.2f}"
        for method, tokens in used.items()
        if not alike([tokens, used[least]])
    ]
    if not more:
        return []
    return [
        f"Rollout tokens differ although the plans do not: {listed(more)} times those of {least}; the "
        "picture has accuracy by tokens sampled."
    ]


def _value(name: str, row: Numbers | None) -> str:
    if row is None:
        return "-"
    if name not in _DIGITS:
        return f"{percent(row['mean'])} {bounds(row['low'], row['high'])}"
    return _plain(row, _DIGITS[name], "")


def _change(name: str, row: Numbers | None) -> str:
    if row is None or name not in _DIGITS:
        return change(row)
    return _plain(row, _DIGITS[name], "+")


def _plain(row: Numbers, digits: int, sign: str) -> str:
    mean, low, high = (f"{row[key]:{sign}.{digits}f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _account(account: Numbers) -> Sequence[str]:
    return [
        number(account["rollout_tokens"], 0),
        number(account["trained_tokens"], 0),
        number(account["seconds"] / 60),
    ]
