"""A table of text cells, and how it is written: as plain text or as Markdown.

Every report shows the same tables; only the writing differs. Names, errors and answers come from outside,
so control characters and lone surrogates are replaced here, once.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from evals.budgets import Budget

_NUMBER = re.compile(r"[-+]?[\d,]*\.?\d*(e[-+]?\d+)?( ?%)?( \[.*\]| \(.*\))?|<0\.001|[-–]|")
# Characters that GitHub's Markdown would read as markup, mathematics or HTML.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$&@])")


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of text; `note` explains what the numbers are."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]

    def numeric(self, column: int) -> bool:
        """Whether a column holds numbers only, and is set flush right."""
        return column > 0 and all(_NUMBER.fullmatch(row[column]) for row in self.rows)


def plain(table: Table) -> str:
    """A table as aligned text."""
    rows = [[clean(cell) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    numeric = [table.numeric(i) for i in range(len(table.columns))]
    ruled = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join(_line(row, widths, numeric) for row in ruled)


def markdown(table: Table) -> str:
    """A table as GitHub's Markdown, under a heading."""
    rule = ["---:" if table.numeric(i) else ":---" for i in range(len(table.columns))]
    lines = [f"## {escape_markdown(table.title)}", ""]
    if table.note:
        lines += [escape_markdown(table.note), ""]
    rows = [[escape_markdown(cell) for cell in row] for row in (table.columns, *table.rows)]
    lines += ["| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:])]
    return "\n".join(lines) + "\n"


def escape_markdown(text: str) -> str:
    """`text` on one line, without meaning to Markdown."""
    return _MARKUP.sub(r"\\\1", clean(text))


def clean(text: str) -> str:
    """`text` on one line: no control characters a terminal would obey, no surrogates UTF-8 cannot write."""
    return "".join(
        "\ufffd" if unicodedata.category(c) in ("Cc", "Cs", "Cf") else c for c in _on_one_line(text)
    )


def _on_one_line(text: str) -> str:
    return re.sub(r"[\r\n\t\v\f\u2028\u2029\x85]+", " ", text)


def _line(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    cells = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(row, widths, numeric, strict=True)
    )
    return "  ".join(cells).rstrip()


def percent(value: float | None) -> str:
    """A share in percent, without the sign."""
    return "-" if value is None else f"{100 * value:.1f}"


def number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def probability(value: float | None) -> str:
    """A p value."""
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def with_bounds(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """A number and its interval."""
    if value is None:
        return "-"
    text = f"{value:.{digits}f}"
    return text if low is None or high is None else f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def accuracy(row: Mapping[str, Any]) -> str:
    """An accuracy and its interval, in percent."""
    return _in_percent(row["accuracy"], row["low"], row["high"], "")


def estimate(row: Mapping[str, Any] | None) -> str:
    """A mean and its interval, in percent."""
    return "-" if row is None else _in_percent(row["mean"], row["low"], row["high"], "")


def change(row: Mapping[str, Any] | None) -> str:
    """A difference and its interval, in points, with signs."""
    return "-" if row is None else _in_percent(row["mean"], row["low"], row["high"], "+")


def bounds(low: float | None, high: float | None, sign: str = "") -> str:
    """An interval in percent."""
    return "-" if low is None or high is None else f"[{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def _in_percent(value: float | None, low: float | None, high: float | None, sign: str) -> str:
    if value is None:
        return "-"
    text = f"{100 * value:{sign}.1f}"
    return text if low is None or high is None else f"{text} {bounds(low, high, sign)}"


def budget_name(budget: Budget) -> str:
    """A budget as a reader says it."""
    return {"max": "no limit", 0: "off", "0": "off"}.get(budget, str(budget))


def keys_in_order(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of all rows, each once, in order of appearance."""
    return list(dict.fromkeys(chain.from_iterable(rows)))
