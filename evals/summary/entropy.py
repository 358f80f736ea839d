"""Entropy at one budget: of the thinking tokens it keeps, and of the answers given.

Answer entropy is semantic entropy with the grader as the judge of meaning (Farquhar et al. 2024, Nature 630;
the count version): -sum_c p_c ln p_c over the classes of equivalent answers of one problem, in nats.
"""

from collections.abc import Sequence
from typing import Any

from evals import stats
from evals.budgets import Budget
from evals.summary.outcomes import Outcome
from evals.summary.token_entropy import EntropyTally


def entropy(budget: Budget, replies: Sequence[Outcome], tally: EntropyTally) -> dict[str, Any] | None:
    """Answer entropy, mean over problems with its interval, and token entropy; None where both are unknown.

    Answer entropy needs two answers of a problem; replies without one are not counted.
    """
    groups: dict[str, list[int]] = {}
    for outcome in replies:
        if outcome.group is not None:
            groups.setdefault(outcome.problem, []).append(outcome.group)
    several = [group for _, group in sorted(groups.items()) if len(group) > 1]
    answers = stats.mean_entropy(
        [stats.answer_entropy(group) for group in several], max(map(len, several), default=0)
    )
    tokens = tally.at(budget)
    if answers is None and tokens is None:
        return None
    return {
        "answer": None if answers is None else answers.mean,
        "answer_low": None if answers is None else answers.low,
        "answer_high": None if answers is None else answers.high,
        "token": None if tokens is None else tokens.entropy,
        "rest": None if tokens is None else tokens.rest,
        "forking_share": None if tokens is None else tokens.forking_share,
    }


def along(tally: EntropyTally) -> list[dict[str, Any]]:
    """Token entropy of each tenth of the traces that ended by themselves; empty without log probabilities."""
    rows = []
    for part, found in enumerate(tally.along()):
        if found is not None:
            rows.append(
                {
                    "from": part / 10,
                    "to": (part + 1) / 10,
                    "tokens": found.tokens,
                    "token": found.entropy,
                    "rest": found.rest,
                    "forking_share": found.forking_share,
                }
            )
    return rows
