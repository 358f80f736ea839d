"""From what a request asks to the budget it gets: effort levels, ceilings, and room for the answer. Pure."""

from dataclasses import dataclass
from typing import Literal

from serve.budget import EFFORT_SHARES, ThinkingBudget

LoweredBy = Literal["ceiling", "load", "answer_reserve", "context"]


@dataclass(frozen=True, slots=True)
class Grant:
    """The budget in force.

    budget: most thinking tokens; None is no limit, 0 is thinking off. requested: what was asked.
    lowered_by: why it is less than that, if it is.
    """

    budget: int | None
    requested: int | None
    lowered_by: LoweredBy | None = None


def grant(
    asked: ThinkingBudget, *, max_tokens: int, room: int, overhead: int, load: int | None = None
) -> Grant:
    """The budget that `asked` gets.

    max_tokens: most tokens of the reply. room: tokens that the context has left for it.
    overhead: tokens of the reply around the thinking of a cut one: an open tag and the early-stop text.
    load: the ceiling that the server's load sets; None is none.
    A budget must leave room for `answer_reserve` tokens of answer after that; a budget that the end of the
    context would cut short must leave room for one. Where nothing is left, thinking is off.
    """
    requested = asked.budget
    if asked.effort is not None:
        share = EFFORT_SHARES[asked.effort]
        requested = None if share is None else int(share * max_tokens)
    budget, lowered_by = requested, None

    def lower(limit: int, reason: LoweredBy) -> None:
        nonlocal budget, lowered_by
        if budget is None or budget > limit:
            budget, lowered_by = limit, reason

    if asked.ceiling is not None:
        lower(asked.ceiling, "ceiling")
    if load is not None:
        lower(load, "load")
    if asked.answer_reserve:
        lower(max(0, max_tokens - overhead - asked.answer_reserve), "answer_reserve")
    if budget is not None and max_tokens >= room:
        lower(max(0, room - overhead - 1), "context")
    return Grant(budget, requested, lowered_by)
