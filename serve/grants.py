"""From what a request asks to the budget it gets: levels, profile, ceilings, room for the answer. Pure."""

from dataclasses import dataclass
from typing import Literal

from serve.budget import EFFORT_SHARES, RequestError, ThinkingBudget
from serve.profile import BudgetCurve, ThinkingProfile

DIGITS = 4
"""Of the accuracies that clients are told."""

LoweredBy = Literal["ceiling", "answer_reserve", "context"]


@dataclass(frozen=True, slots=True)
class Grant:
    """The budget in force.

    budget: most thinking tokens; None is no limit, 0 is thinking off. requested: what was asked.
    lowered_by: why it is less than that, if it is. calibrated: `requested` was read off the model's profile.
    expected_accuracy: under `budget`, by the profile; None where that tells nothing of it.
    """

    budget: int | None
    requested: int | None
    lowered_by: LoweredBy | None = None
    calibrated: bool = False
    expected_accuracy: float | None = None


def grant(
    asked: ThinkingBudget,
    *,
    max_tokens: int,
    room: int,
    overhead: int,
    profile: ThinkingProfile | None = None,
) -> Grant:
    """The budget that `asked` gets.

    max_tokens: most tokens of the reply. room: tokens that the context has left for it.
    overhead: tokens of the reply around the thinking of a cut one: an open tag and the early-stop text.
    profile: the served model's. With one an effort level is the budget measured for it, without one a share
    of `max_tokens`.
    A budget must leave room for `answer_reserve` tokens of answer after that; a budget that the end of the
    context would cut short must leave room for one. Where nothing is left, thinking is off.
    Raises RequestError where `measured_curve` does.
    """
    curve = measured_curve(asked, profile)
    requested = _requested(asked, curve, max_tokens)
    budget, lowered_by = requested, None

    def lower(limit: int, reason: LoweredBy) -> None:
        nonlocal budget, lowered_by
        if budget is None or budget > limit:
            budget, lowered_by = limit, reason

    if asked.ceiling is not None:
        lower(asked.ceiling, "ceiling")
    if asked.answer_reserve:
        lower(max(0, max_tokens - overhead - asked.answer_reserve), "answer_reserve")
    if budget is not None and max_tokens >= room:
        lower(max(0, room - overhead - 1), "context")
    by_level = asked.effort is not None or asked.target_accuracy is not None or asked.max_cost is not None
    return Grant(
        budget,
        requested,
        lowered_by,
        calibrated=by_level and curve is not None,
        expected_accuracy=(
            round(curve.accuracy_at(budget), DIGITS) if curve is not None and curve.covers(budget) else None
        ),
    )


def measured_curve(asked: ThinkingBudget, profile: ThinkingProfile | None) -> BudgetCurve | None:
    """The measured curve that a request's budget is read off; None without a profile.

    Raises RequestError for what needs a profile where there is none, for an unknown family, and for a target
    accuracy above the peak.
    """
    if profile is None:
        for name in ("target_accuracy", "max_cost", "family"):
            value = getattr(asked, name)
            if value is not None:
                raise RequestError(
                    f"thinking.{name}",
                    f"thinking.{name} is {value!r}, but the server has no thinking profile to look it up in; "
                    "give a budget, or serve the model with a profile (thinkdial eval profile makes one)",
                )
        return None
    if asked.family is not None and asked.family not in profile.families:
        known = ", ".join(profile.families) or "none"
        raise RequestError(
            "thinking.family",
            f"thinking.family is {asked.family!r}; the families that were measured are {known}",
        )
    curve = profile.curve(asked.family)
    target = asked.target_accuracy
    # Accuracies are told with so many digits, and what was told may be asked.
    if target is not None and target > max(curve.peak, round(curve.peak, DIGITS)):
        raise RequestError(
            "thinking.target_accuracy",
            f"thinking.target_accuracy is {target:g}, above the peak of what was measured, "
            f"{curve.peak:.{DIGITS}f}; give at most that",
        )
    return curve


def _requested(asked: ThinkingBudget, curve: BudgetCurve | None, max_tokens: int) -> int | None:
    budget = asked.budget
    if asked.effort is not None and curve is None:
        share = EFFORT_SHARES[asked.effort]
        budget = None if share is None else int(share * max_tokens)
    elif asked.effort is not None and curve is not None:
        budget = curve.levels[asked.effort]
    elif asked.target_accuracy is not None and curve is not None:
        budget = curve.budget_for_accuracy(min(asked.target_accuracy, curve.peak))
    if asked.max_cost is None or curve is None:
        return budget
    affordable = curve.budget_for_tokens(asked.max_cost)
    if budget is None or affordable is None:
        return budget if affordable is None else affordable
    return min(budget, affordable)
