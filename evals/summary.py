"""Recompute every number of a report from the store, and write them as `summary.json`.

A share or accuracy without replies to count is null. Intervals are 95 % and clustered by problem.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from evals.budgets import Budget
from evals.grading import Verdict
from evals.outcomes import Outcome, outcomes
from evals.presets import is_greedy
from evals.records import Failure, Record
from evals.stats import Estimate, clustered_proportion, paired_difference
from evals.store import read_manifest, read_records

SUMMARY = "summary.json"
QUARTERS = ("0-25 %", "25-50 %", "50-75 %", "75-100 %")
"""Shares of a trace's natural length that were thought when it was cut."""


def summarise(directory: Path) -> dict[str, Any]:
    """All numbers of the run in `directory`, as JSON values. Raises ValueError where there is no run."""
    manifest = read_manifest(directory)
    records, failures = read_records(directory)
    settings, plan = manifest["settings"], manifest["plan"]
    budgets: list[Budget] = plan["budgets"]
    found = outcomes(records, budgets, greedy=is_greedy(settings["sampling"]))
    expected = len(plan["problems"]) * plan["samples"]
    by_budget = {budget: [o for o in found if o.budget == budget] for budget in budgets}
    return {
        "settings": settings,
        "plan": {**plan, "problems": len(plan["problems"])},
        "versions": manifest["versions"],
        "points": [
            {"budget": budget, **_point(replies, by_budget.get(0, [])), "missing": expected - len(replies)}
            for budget, replies in by_budget.items()
        ],
        "differences": _differences(by_budget),
        "by_level": _breakdown(found, budgets, "level"),
        "by_subject": _breakdown(found, budgets, "subject"),
        "cut_by_subject_and_share": _cut_shares(found),
        "totals": _totals(records.values()),
        "failed": _failed(failures.values(), plan, found, budgets),
    }


def write_summary(directory: Path) -> dict[str, Any]:
    """`summarise`, written to `summary.json` in the run directory."""
    summary = summarise(directory)
    temporary = directory / f"{SUMMARY}.tmp"
    temporary.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", "utf-8")
    os.replace(temporary, directory / SUMMARY)
    return summary


def _point(replies: Sequence[Outcome], no_think: Sequence[Outcome]) -> dict[str, Any]:
    cut = [o for o in replies if o.cut]
    pairs = {(o.problem, o.sample) for o in cut}
    same = [o for o in no_think if (o.problem, o.sample) in pairs]
    gain = paired_difference(_correct(same), _correct(cut))
    known = [o for o in replies if o.stop_cause is not None]
    return {
        **_accuracy(replies),
        "chance": _chance(replies),
        "cut_n": len(cut),
        "cut_share": _share(known, lambda o: o.cut),
        **{f"cut_{name}": value for name, value in _accuracy(cut).items() if name != "n"},
        "cut_chance": _chance(cut),
        "no_think_accuracy_on_cut": _share(same, lambda o: o.correct),
        "cut_minus_no_think": None if gain is None else _interval(gain),
        "censored_share": _share(known, lambda o: o.stop_cause == "length"),
        "boxed_share": _share(replies, lambda o: o.verdict is not Verdict.NO_ANSWER),
        "ended_by_itself_share": _share(replies, lambda o: o.finish_reason == "stop"),
        "ended_boxed_share": _share(
            replies, lambda o: o.finish_reason == "stop" and o.verdict is not Verdict.NO_ANSWER
        ),
        "mean_thinking_tokens": _mean(o.thinking_tokens for o in replies),
        "mean_generated_tokens": _mean(o.reply_tokens for o in replies),
    }


def _accuracy(replies: Sequence[Outcome]) -> dict[str, Any]:
    estimate = clustered_proportion(_correct(replies))
    if estimate is None:
        return {"n": 0, "accuracy": None, "low": None, "high": None}
    return {"n": estimate.n, "accuracy": estimate.mean, "low": estimate.low, "high": estimate.high}


def _correct(replies: Iterable[Outcome]) -> dict[str, list[float]]:
    """Ones and zeros grouped by problem."""
    groups: dict[str, list[float]] = {}
    for outcome in replies:
        groups.setdefault(outcome.problem, []).append(float(outcome.correct))
    return groups


def _share(replies: Sequence[Outcome], test: Callable[[Outcome], bool]) -> float | None:
    return sum(map(test, replies)) / len(replies) if replies else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _chance(replies: Sequence[Outcome]) -> float | None:
    """Mean chance accuracy of the replies' problems; None unless each problem tells it."""
    known = [o.chance for o in replies if o.chance is not None]
    return fmean(known) if known and len(known) == len(replies) else None


def _interval(estimate: Estimate) -> dict[str, Any]:
    return {
        "n": estimate.n,
        "mean": estimate.mean,
        "se": estimate.se,
        "low": estimate.low,
        "high": estimate.high,
    }


def _differences(by_budget: dict[Budget, list[Outcome]]) -> list[dict[str, Any]]:
    """Paired change of accuracy from each budget to the next."""
    rows = []
    for low, high in pairwise(by_budget):
        estimate = paired_difference(_correct(by_budget[low]), _correct(by_budget[high]))
        if estimate is not None:
            rows.append({"from": low, "to": high, **_interval(estimate)})
    return rows


def _breakdown(found: Sequence[Outcome], budgets: Sequence[Budget], field: str) -> list[dict[str, Any]]:
    """Accuracy, and accuracy of the cut, for each group and budget; empty when no problem has the field."""
    groups = {getattr(o, field) for o in found} - {None}
    rows = []
    for group in sorted(groups, key=lambda value: (isinstance(value, str), value)):
        members = [o for o in found if getattr(o, field) == group]
        for budget in budgets:
            replies = [o for o in members if o.budget == budget]
            cut = [o for o in replies if o.cut]
            rows.append(
                {
                    field: group,
                    "budget": budget,
                    **_accuracy(replies),
                    "chance": _chance(replies),
                    "cut_n": len(cut),
                    **{f"cut_{name}": value for name, value in _accuracy(cut).items() if name != "n"},
                }
            )
    return rows


def _cut_shares(found: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Accuracy of cut replies by subject and by quarter of the thinking done, pooled over budgets.

    Replies whose natural length is not known are left out. Subject None is all subjects together.
    """
    cut = [
        (o, min(3, 4 * o.budget // o.natural_tokens))
        for o in found
        if o.cut and o.natural_tokens and isinstance(o.budget, int)
    ]
    subjects: list[str | None] = [*sorted({o.subject for o, _ in cut if o.subject is not None}), None]
    rows = []
    for subject in subjects:
        for quarter, label in enumerate(QUARTERS):
            replies = [o for o, q in cut if q == quarter and subject in (None, o.subject)]
            if replies:
                row = {
                    "subject": subject,
                    "thinking_done": label,
                    **_accuracy(replies),
                    "chance": _chance(replies),
                }
                rows.append(row)
    return rows


def _totals(records: Iterable[Record]) -> dict[str, Any]:
    """Replies drawn and tokens decoded for them, by kind; prompts (prefill) are not counted."""
    replies: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for record in records:
        replies[record.kind] += 1
        tokens[record.kind] += record.generated_tokens
    return {
        "replies": dict(sorted(replies.items())),
        "generated_tokens": dict(sorted(tokens.items())),
        "all_generated_tokens": tokens.total(),
    }


def _failed(
    failures: Iterable[Failure], plan: dict[str, Any], found: Sequence[Outcome], budgets: Sequence[Budget]
) -> dict[str, Any]:
    """Requests the server refused, and problems that lack a reply at some budget."""
    have = Counter(o.problem for o in found)
    wanted = plan["samples"] * len(budgets)
    return {
        "requests": [
            {"problem": f.problem, "sample": f.sample, "budget": f.budget, "error": f.error} for f in failures
        ],
        "incomplete_problems": [problem for problem in plan["problems"] if have[problem] < wanted],
    }
