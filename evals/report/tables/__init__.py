"""The tables of a report, as text cells: the terminal, Markdown and the page show the same numbers."""

from evals.report.tables.account import (
    account_table,
    cost_table,
    failure_table,
    missing_table,
    settings_table,
)
from evals.report.tables.curve import (
    breakdown_table,
    cut_share_table,
    difference_table,
    gain_table,
    interval_table,
    point_table,
    shape_table,
)
from evals.report.tables.replies import (
    SOURCES,
    calibration_table,
    control_table,
    crosscheck_table,
    ending_table,
    entropy_table,
    stop_cause_table,
    verdict_table,
    vote_table,
)
from evals.report.tables.table import Table, budget_name, clean, escape_markdown, markdown, plain

__all__ = [
    "SOURCES",
    "Table",
    "account_table",
    "breakdown_table",
    "budget_name",
    "calibration_table",
    "clean",
    "control_table",
    "cost_table",
    "crosscheck_table",
    "cut_share_table",
    "difference_table",
    "ending_table",
    "entropy_table",
    "escape_markdown",
    "failure_table",
    "gain_table",
    "interval_table",
    "markdown",
    "missing_table",
    "plain",
    "point_table",
    "settings_table",
    "shape_table",
    "stop_cause_table",
    "verdict_table",
    "vote_table",
]
