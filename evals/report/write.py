"""Write a run's report: summary.json, report.md, report.html, curve.png, and tables for the terminal."""

import json
from pathlib import Path
from typing import Any

from evals.report.headline import headline, setup, title
from evals.report.page import page
from evals.report.plot import draw
from evals.report.samples import page_samples
from evals.report.tables import (
    account_table,
    breakdown_table,
    calibration_table,
    clean,
    control_table,
    cost_table,
    crosscheck_table,
    cut_share_table,
    difference_table,
    ending_table,
    entropy_table,
    escape_markdown,
    failure_table,
    gain_table,
    interval_table,
    missing_table,
    plain,
    point_table,
    settings_table,
    shape_table,
    stop_cause_table,
    verdict_table,
    vote_table,
)
from evals.report.tables import markdown as markdown_table
from evals.summary.outcomes import outcomes
from evals.summary.replies import read_run
from evals.summary.summarise import SUMMARY, save_summary, summary_of

PLOT = "curve.png"
PAGE = "report.html"
MARKDOWN = "report.md"
FILES = (SUMMARY, MARKDOWN, PAGE, PLOT)
SAMPLES_IN_PAGE = 100


def write_report(
    directory: Path,
    grader: str = "thinkdial",
    out: Path | None = None,
    samples_in_page: int = SAMPLES_IN_PAGE,
) -> dict[str, Any]:
    """Recompute the summary from the store, and write `FILES` into `out`, the run's directory unless given.

    samples_in_page: most problems and samples whose replies can be read in the page. Returns the summary.
    Raises ValueError when `directory` holds no run.
    """
    out = directory if out is None else out
    run = read_run(directory, grader)
    found = outcomes(run)
    summary = summary_of(run, found)
    out.mkdir(parents=True, exist_ok=True)
    save_summary(out, summary)
    (out / PLOT).write_bytes(draw(summary))
    (out / MARKDOWN).write_text(markdown(summary), "utf-8")
    (out / PAGE).write_text(page(summary, page_samples(run, found, samples_in_page)), "utf-8")
    return summary


def terminal(summary: dict[str, Any]) -> str:
    """The headline, the curve and its shape as plain text, and what is missing."""
    lines = [clean(headline(summary)), "", plain(point_table(summary))]
    shape = shape_table(summary)
    if shape.rows:
        lines += ["", plain(shape)]
    failed = summary["failed"]
    if failed["requests"]:
        first = failed["requests"][0]
        refused = (
            f"{len(failed['requests'])} requests were refused; the first: problem {first['problem']}, "
            f"budget {first['budget']}: {first['error']}"
        )
        lines += ["", clean(refused)]
    if failed["incomplete_problems"]:
        missing = len(failed["incomplete_problems"])
        lines += ["", f"{missing} problems lack replies; run the sweep again to add them"]
    return "\n".join(lines)


def markdown(summary: dict[str, Any]) -> str:
    """The report as GitHub's Markdown, with every table; the picture is expected beside it."""
    tables = [
        point_table(summary),
        shape_table(summary),
        interval_table(summary),
        difference_table(summary),
        gain_table(summary),
        ending_table(summary),
        stop_cause_table(summary),
        verdict_table(summary),
        *(breakdown_table(summary, field) for field in ("level", "subject", "set")),
        cut_share_table(summary),
        control_table(summary),
        vote_table(summary),
        calibration_table(summary),
        entropy_table(summary),
        crosscheck_table(summary),
        cost_table(summary),
        account_table(summary),
        failure_table(summary),
        missing_table(summary),
        settings_table(summary),
    ]
    head = [
        f"# {escape_markdown(title(summary))}",
        f"**{escape_markdown(headline(summary))}**",
        escape_markdown(setup(summary)),
        f"![Accuracy against thinking budget]({PLOT})",
    ]
    return "\n\n".join([*head, *(markdown_table(table) for table in tables if table.rows)])


def as_json(summary: dict[str, Any]) -> str:
    """The summary as JSON text."""
    return json.dumps(summary, indent=1, allow_nan=False)
