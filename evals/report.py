"""Write a run's report: summary.json, curve.png, report.html, and a table for the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.page import page
from evals.plot import DARK, draw
from evals.summary import write_summary
from evals.tables import Table, point_table

PLOT = "curve.png"
PAGE = "report.html"


def write_report(directory: Path) -> dict[str, Any]:
    """Recompute the summary from the store and write summary.json, curve.png and report.html beside it.

    Returns the summary. Raises ValueError when `directory` holds no run.
    """
    summary = write_summary(directory)
    (directory / PLOT).write_bytes(draw(summary, "png"))
    text = page(summary, draw(summary, "svg"), draw(summary, "svg", DARK))
    (directory / PAGE).write_text(text, "utf-8")
    return summary


def terminal(summary: dict[str, Any]) -> str:
    """The curve as a plain text table, and what is missing from it."""
    lines = [plain(point_table(summary))]
    failed = summary["failed"]
    if failed["requests"]:
        first = failed["requests"][0]
        lines.append(
            f"{len(failed['requests'])} requests were refused; the first: problem {first['problem']}, "
            f"budget {first['budget']}: {first['error']}"
        )
    if failed["incomplete_problems"]:
        lines.append(
            f"{len(failed['incomplete_problems'])} problems lack replies; run the sweep again to add them"
        )
    return "\n".join(lines)


def plain(table: Table) -> str:
    """A table as aligned text."""
    rows = [table.columns, *table.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    return "\n".join(_line(row, widths) for row in [rows[0], ["-" * w for w in widths], *rows[1:]])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
