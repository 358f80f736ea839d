"""Accuracy apart by level, subject or problem set, and by how much of a cut trace was thought."""

from collections.abc import Sequence
from typing import Any

from evals.budgets import Budget
from evals.summary.outcomes import Outcome
from evals.summary.points import accuracy, chance

QUARTERS = ("0-25 %", "25-50 %", "50-75 %", "75-100 %")
"""Shares of a trace's natural length that were thought when it was cut."""


def breakdown(found: Sequence[Outcome], budgets: Sequence[Budget], field: str) -> list[dict[str, Any]]:
    """Accuracy, and that of the forced, for each group and budget; empty when no problem has the field."""
    members: dict[Any, dict[Budget, list[Outcome]]] = {}
    for outcome in found:
        group = getattr(outcome, field)
        if group not in (None, ""):
            members.setdefault(group, {}).setdefault(outcome.budget, []).append(outcome)
    rows = []
    for group in sorted(members, key=lambda value: (isinstance(value, str), value)):
        for budget in budgets:
            replies = members[group].get(budget, [])
            cut = accuracy(o for o in replies if o.forced)
            rows.append(
                {
                    "group": group,
                    "budget": budget,
                    **accuracy(replies),
                    "chance": chance(replies),
                    **{f"cut_{name}": value for name, value in cut.items()},
                }
            )
    return rows


def cut_shares(found: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Accuracy of forced replies by subject and by quarter of the thinking done, pooled over budgets.

    Replies whose natural length is not known are left out. Subject None is all subjects together.
    """
    cut = [
        (o, min(3, 4 * o.thinking_tokens // o.natural_tokens))
        for o in found
        if o.forced and o.natural_tokens and o.thinking_tokens is not None
    ]
    subjects: list[str | None] = [*sorted({o.subject for o, _ in cut if o.subject is not None}), None]
    rows = []
    for subject in subjects:
        for quarter, label in enumerate(QUARTERS):
            replies = [o for o, q in cut if q == quarter and subject in (None, o.subject)]
            if replies:
                rows.append(
                    {
                        "subject": subject,
                        "thinking_done": label,
                        **accuracy(replies),
                        "chance": chance(replies),
                    }
                )
    return rows
