"""Do forked replies agree with direct ones? The test of the argument that a forked curve rests on.

Under greedy decoding a direct reply must be the forked one token by token. Under sampling both are
independent draws of the same law: their difference, paired by problem, must be noise.
"""

from collections.abc import Sequence
from typing import Any

from evals import stats
from evals.budgets import Budget
from evals.records import Record
from evals.store import read_record_at
from evals.summary.curve import question_differences
from evals.summary.outcomes import Outcome, crosscheck_pairs
from evals.summary.points import clusters, interval
from evals.summary.replies import Run

ALPHA = 0.05
Pairs = Sequence[tuple[Outcome, Outcome]]


def crosscheck(run: Run, found: Sequence[Outcome]) -> dict[str, Any] | None:
    """The agreement test; None when no point was drawn both ways.

    Each budget has both accuracies on the pairs, their paired difference with a sign-flip p and Holm's p over
    budgets, how many pairs are graded `alike`, and under greedy decoding how many are `identical` (same
    tokens, or same texts where tokens are not known; null when sampled). They agree when no budget's adjusted
    p is below 0.05. Greedy pairs that are not identical are told, and are no contradiction by themselves: a
    server's batching may change a rounding, and so a token.
    """
    pairs = crosscheck_pairs(run, found)
    if not pairs:
        return None
    reader = _Reader(run) if run.greedy else None
    points = []
    for budget in run.budgets:
        here = [pair for pair in pairs if pair[0].budget == budget]
        if here:
            points.append(_point(budget, here, reader))
    for point, p in zip(points, stats.holm([point["p"] for point in points]), strict=True):
        point["p_holm"] = p
    agree = all(point["p_holm"] >= ALPHA for point in points)
    total = _difference(pairs)
    return {
        "share": len(pairs) / len(found),
        "n": len(pairs),
        "points": points,
        "difference": interval(total),
        "identical": sum(point["identical"] for point in points) if run.greedy else None,
        "alike": sum(point["alike"] for point in points),
        "agree": agree,
        "verdict": _verdict(run.greedy, agree, points, total),
    }


def _point(budget: Budget, pairs: Pairs, reader: "_Reader | None") -> dict[str, Any]:
    forked, direct = clusters(a for a, _ in pairs), clusters(b for _, b in pairs)
    return {
        "budget": budget,
        "n": len(pairs),
        "forked": sum(a.correct for a, _ in pairs) / len(pairs),
        "direct": sum(b.correct for _, b in pairs) / len(pairs),
        "difference": interval(_difference(pairs)),
        "p": stats.sign_flip_test(question_differences(forked, direct)),
        "identical": None if reader is None else sum(reader.identical(a, b) for a, b in pairs),
        "alike": sum(a.correct == b.correct for a, b in pairs),
    }


def _difference(pairs: Pairs) -> stats.Estimate | None:
    return stats.paired_difference(clusters(a for a, _ in pairs), clusters(b for _, b in pairs))


def _verdict(
    greedy: bool, agree: bool, points: Sequence[dict[str, Any]], total: stats.Estimate | None
) -> str:
    n = sum(p["n"] for p in points)
    parts = []
    if greedy:
        same = sum(p["identical"] for p in points)
        parts.append(f"{same} of {n} direct replies are the forked ones token by token")
    if total is not None:
        parts.append(
            f"direct minus forked is {100 * total.mean:+.1f} points "
            f"[{100 * total.low:+.1f}, {100 * total.high:+.1f}] on {n} replies drawn both ways"
        )
    if agree and total is not None and total.se:
        shown = stats.minimum_detectable_effect(total.se, total.questions - 1)
        parts.append(
            f"no budget shows a difference, and one of {100 * shown:.1f} points over all of them would have "
            "been found 4 times in 5"
        )
    elif agree:
        parts.append("no budget shows a difference")
    else:
        where = ", ".join(str(p["budget"]) for p in points if p["p_holm"] < ALPHA)
        parts.append(f"they differ at budget {where}: do not trust the forked curve there")
    return "; ".join(parts)


class _Reader:
    """Reads the records of pairs again, with their tokens."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._offsets = {reply.key: reply.offset for reply in run.replies}
        format = run.manifest["settings"].get("thinking_format") or {}
        self._stop_ids = format.get("stop_ids", [])

    def identical(self, forked: Outcome, direct: Outcome) -> bool:
        first, second = self._record(forked.key), self._record(direct.key)
        if first.token_ids is None or second.token_ids is None:
            return first.answer == second.answer
        return self._tokens(first) == second.token_ids

    def _tokens(self, record: Record) -> list[int]:
        """The whole reply: a fork's begins with the tokens kept of its trace and the inserted ones."""
        assert record.token_ids is not None
        if record.trace is None:
            return record.token_ids
        trace = self._record(record.trace)
        assert trace.token_ids is not None
        inserted = self._stop_ids if record.inserted_tokens else []
        return [*trace.token_ids[: record.cut], *inserted, *record.token_ids]

    def _record(self, key: str) -> Record:
        return read_record_at(self._run.directory, self._offsets[key])
