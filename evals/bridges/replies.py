"""Which stored reply answers a problem at a budget."""

from collections.abc import Iterable

from evals.budgets import Budget, limit_of
from evals.records import Record


def replies_at(records: Iterable[Record], budget: Budget) -> dict[tuple[str, int], Record]:
    """The reply of each problem and sample at a budget: (problem id, sample) -> record.

    A trace that finished within the budget answers for it; a longer one is answered by its fork. Problems
    without a reply there are absent.
    """
    records = list(records)
    # In a forked run a direct reply is a second way to a point, and no stand-in for a fork that was refused.
    forked = any(r.kind in ("trace", "no_think") for r in records)
    forks = {r.trace: r for r in records if r.kind == "fork" and r.budget == budget}
    found = {}
    for record in records:
        place = record.problem, record.sample
        if record.kind == "trace" and budget != 0:
            fork = forks.get(record.key)
            if fork is not None:
                found[place] = fork
            elif limit_of(budget, record.thinking_tokens or 0) >= (record.thinking_tokens or 0):
                found[place] = record
        elif record.kind == ("no_think" if forked else "direct") and record.budget == budget:
            found[place] = record
    return found
