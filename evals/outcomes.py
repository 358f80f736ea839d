"""The outcome of every problem, sample and budget, derived from a store's records.

Records are what was drawn; outcomes are what it says. At budget b a trace that finished within b keeps its
own answer, a longer one has its fork's, and one that ran out of tokens before b has none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evals.budgets import Budget, as_number
from evals.grading import Verdict, grade
from evals.records import Record


@dataclass(frozen=True, slots=True)
class Outcome:
    """One reply at one budget, graded.

    natural_tokens: how long thinking would have been without a budget; None where that is not known.
    reply_tokens: tokens a server decodes for such a reply, inserted text excluded.
    """

    problem: str
    sample: int
    budget: Budget
    level: int | str | None
    subject: str | None
    chance: float | None
    correct: bool
    verdict: Verdict
    stop_cause: str | None
    finish_reason: str | None
    thinking_tokens: int | None
    natural_tokens: int | None
    reply_tokens: int | None

    @property
    def cut(self) -> bool:
        """Whether the budget ended thinking."""
        return self.stop_cause == "budget"


def outcomes(records: Mapping[str, Record], budgets: Iterable[Budget], greedy: bool) -> list[Outcome]:
    """Outcomes at `budgets` of all stored replies; budgets without a reply have no outcome.

    greedy: whether decoding was greedy, so that a direct reply's natural length is that of the unlimited one.
    """
    budgets = list(budgets)
    found = []
    naturals = _natural_lengths(records, greedy)
    forks = {(r.trace, r.budget): r for r in records.values() if r.kind == "fork"}
    for record in records.values():
        if record.kind == "trace":
            for budget in budgets:
                if budget == 0:
                    continue
                thinking = record.thinking_tokens or 0
                fork = forks.get((record.key, budget))
                if fork is not None:
                    found.append(_outcome(fork, budget, naturals, decoded=(fork.cut or 0)))
                elif as_number(budget) >= thinking:
                    found.append(_outcome(record, budget, naturals))
        elif record.kind != "fork" and record.budget in budgets:
            found.append(_outcome(record, record.budget, naturals))
    return found


def _natural_lengths(records: Mapping[str, Record], greedy: bool) -> dict[tuple[str, int], int]:
    lengths = {}
    for record in records.values():
        known = record.kind == "trace" or (greedy and record.budget == "max")
        if known and record.stop_cause == "natural" and record.thinking_tokens is not None:
            lengths[record.problem, record.sample] = record.thinking_tokens
    return lengths


def _outcome(
    record: Record, budget: Budget, naturals: Mapping[tuple[str, int], int], decoded: int = 0
) -> Outcome:
    graded = grade(record.gold, record.answer)
    return Outcome(
        problem=record.problem,
        sample=record.sample,
        budget=budget,
        level=record.level,
        subject=record.subject,
        chance=record.chance,
        correct=graded.correct,
        verdict=graded.verdict,
        stop_cause=record.stop_cause,
        finish_reason=record.finish_reason,
        thinking_tokens=record.thinking_tokens,
        natural_tokens=naturals.get((record.problem, record.sample)),
        reply_tokens=None if record.generated_tokens is None else decoded + record.generated_tokens,
    )
