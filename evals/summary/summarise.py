"""Recompute every number of a report from the store, and write them as `summary.json`.

A share or accuracy without replies to count is null. Intervals are 95 % and clustered by problem.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from evals import account
from evals.budgets import Budget, axis_of
from evals.summary.breakdowns import breakdown, cut_shares
from evals.summary.calibration import calibration
from evals.summary.crosscheck import crosscheck
from evals.summary.curve import bands, curve, differences
from evals.summary.entropy import along, entropy
from evals.summary.outcomes import NO_THINKING, Outcome, outcomes
from evals.summary.points import point
from evals.summary.replies import Run, read_run

SUMMARY = "summary.json"
FORMAT = 2


def summarise(directory: Path, grader: str = "thinkdial") -> dict[str, Any]:
    """All numbers of the run in `directory`, as JSON values. Raises ValueError where there is no run.

    grader: as in `evals.summary.replies.read_run`. Grades are kept in `grades.jsonl` of the run.
    """
    run = read_run(directory, grader)
    return summary_of(run, outcomes(run))


def summary_of(run: Run, found: Sequence[Outcome]) -> dict[str, Any]:
    """The summary of a run that is read, from its outcomes."""
    plan, budgets = run.manifest["plan"], run.budgets
    by_budget = {budget: [o for o in found if o.budget == budget] for budget in budgets}
    checked = crosscheck(run, found)
    run.grades.save()
    return {
        "format": FORMAT,
        "axis": axis_of(budgets),
        "grader": run.grader,
        "grading_options": run.grades.options,
        "settings": run.manifest["settings"],
        "plan": {**plan, "problems": len(plan["problems"])},
        "versions": run.manifest["versions"],
        "points": _points(run, by_budget),
        "curve": curve(by_budget),
        "differences": differences(by_budget),
        "by_level": breakdown(found, budgets, "level"),
        "by_subject": breakdown(found, budgets, "subject"),
        "by_set": breakdown(found, budgets, "set"),
        "cut_by_subject_and_share": cut_shares(found),
        "entropy_along": along(run.entropy),
        "crosscheck": checked,
        "totals": totals(run),
        "failed": _failed(run, found),
    }


def write_summary(directory: Path, grader: str = "thinkdial") -> dict[str, Any]:
    """`summarise`, written to `summary.json` in the run directory."""
    summary = summarise(directory, grader)
    save_summary(directory, summary)
    return summary


def save_summary(directory: Path, summary: dict[str, Any]) -> None:
    """Replace `summary.json` whole."""
    temporary = directory / f"{SUMMARY}.tmp"
    temporary.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", "utf-8")
    os.replace(temporary, directory / SUMMARY)


def _points(run: Run, by_budget: dict[Budget, list[Outcome]]) -> list[dict[str, Any]]:
    plan = run.manifest["plan"]
    expected = len(plan["problems"]) * plan["samples"]
    no_think = next((by_budget[b] for b in NO_THINKING if b in by_budget), [])
    edges = bands(by_budget)
    rows = []
    for budget, replies in by_budget.items():
        low, high = edges[budget]
        rows.append(
            {
                **point(budget, replies, no_think, expected),
                "band_low": low,
                "band_high": high,
                "calibration": calibration(replies),
                "entropy": entropy(budget, replies, run.entropy),
            }
        )
    return rows


def totals(run: Run) -> dict[str, Any]:
    """The account of the run: replies by kind, tokens, attempts, time, cost (null without prices).

    thinking_tokens: decoded while thinking, once for a trace whatever is forked from it. seconds: summed over
    requests, which overlap; wall_seconds: of the sweeps. What a reply does not tell makes its sum null.
    """
    totals = account.totals(run.tally, account.read_account(run.directory))
    if any(r.generated_tokens is None for r in run.replies):
        totals |= {"generated_tokens": dict.fromkeys(totals["replies"]), "all_generated_tokens": None}
    if run.manifest["settings"]["mode"] == "imported":
        totals |= {"attempts": None, "wall_seconds": None}
    return {
        **totals,
        "prompt_tokens": _sum(r.prompt_tokens for r in run.replies),
        "thinking_tokens": _sum(r.thinking_tokens for r in run.replies if r.kind in ("trace", "direct")),
        "seconds": _sum(r.seconds for r in run.replies),
    }


def _sum(values: Iterable[float | None]) -> float | None:
    """None if one is not known."""
    total: float = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _failed(run: Run, found: Sequence[Outcome]) -> dict[str, Any]:
    """Requests the server refused, and problems that lack a reply at some budget."""
    plan = run.manifest["plan"]
    have = Counter(o.problem for o in found)
    wanted = plan["samples"] * len(run.budgets)
    return {
        "requests": [
            {"problem": f.problem, "sample": f.sample, "budget": f.budget, "error": f.error}
            for f in run.failures
        ],
        "incomplete_problems": [problem for problem in plan["problems"] if have[problem] < wanted],
    }
