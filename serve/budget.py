"""What a request may ask of its thinking: `ThinkingBudget`, its members, and how they are checked."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

UNLIMITED = -1
LONGEST_TEXT = 4000
"""Characters of the texts that are inserted into replies: they are tokenised while all others wait."""
EFFORT_SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95, "max": None}
"""Share of the tokens a reply may hold that an effort level gives to thinking, None for no limit.

The shares are OpenRouter's documented ones for models whose levels are not measured.
"""


class RequestError(ValueError):
    """A request field is wrong; the HTTP layer answers 400 and names `param`."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class LoopStop:
    """When thinking runs in a circle: its last tokens are one cycle, at least `repeats` times over.

    tokens: how long the repetition must be in all.
    """

    repeats: int = 4
    tokens: int = 64


@dataclass(frozen=True, slots=True)
class ConfidentStop:
    """When thinking may stop because the answer is certain (DEER, arXiv 2504.15895; Dynasor, 2412.20993).

    every: thinking tokens between probes. A probe answers greedily from what has been thought so far.
    tokens: most tokens of a probe. induce: text that a probe's answer starts with.
    threshold: the least geometric mean of a probe's token probabilities (DEER, equation 3).
    agree: how many probes in a row must be that certain and give one answer.
    """

    every: int = 32
    tokens: int = 16
    induce: str = ""
    threshold: float = 0.95
    agree: int = 1


@dataclass(frozen=True, slots=True)
class ThinkingBudget:
    """What a request asks of its thinking.

    budget: most thinking tokens of each choice; None is no limit, 0 is thinking off.
    ceiling: a limit on the budget that the request cannot raise. effort: a level that stands in for `budget`.
    target_accuracy: the accuracy that stands in for `budget`, by the served model's thinking profile.
    max_cost: most mean thinking tokens that the budget may cost, by the profile. family: of the profile's
        curves the one that holds; None is that of all problems.
    deadline: seconds from arrival within which the whole response should be there.
    soft: within this many tokens of the budget, thinking stops at the end of a sentence or line.
    min_tokens: thinking that the model ends earlier goes on with `wait_text` (s1, arXiv 2501.19393).
    loop, confident: stop thinking that runs in circles, or whose answer is certain; None is off.
    answer_reserve: tokens of the reply that thinking must leave to the answer.
    stop_text: what is inserted when thinking is cut, closing tag included; None is the model's own.
    entropy: tell the entropy of every thinking token.
    """

    budget: int | None = None
    ceiling: int | None = None
    effort: str | None = None
    target_accuracy: float | None = None
    max_cost: float | None = None
    family: str | None = None
    deadline: float | None = None
    soft: int = 0
    min_tokens: int = 0
    wait_text: str = "Wait"
    loop: LoopStop | None = None
    confident: ConfidentStop | None = None
    answer_reserve: int = 0
    stop_text: str | None = None
    entropy: bool = False

    def dumps(self) -> str:
        """As JSON, for transport inside one process."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> "ThinkingBudget":
        members = json.loads(text)
        if members["loop"] is not None:
            members["loop"] = LoopStop(**members["loop"])
        if members["confident"] is not None:
            members["confident"] = ConfidentStop(**members["confident"])
        return cls(**members)


def with_members(base: ThinkingBudget, members: Mapping[str, Any], field: str = "thinking") -> ThinkingBudget:
    """`base` with the members of a `thinking` object, which win over it; null members are as if absent.

    members: those of `ThinkingBudget` but the ceiling. -1 (budget), 0 (soft, min_tokens, answer_reserve) and
        false (target_accuracy, max_cost, family, deadline, loop, confident, entropy) turn one off. A budget
        beats an effort; a target accuracy stands beside neither.
    Raises RequestError, its param `field`.member, for an unknown member or a wrong value.
    """
    given: dict[str, Any] = {}
    for name, value in members.items():
        if name not in _MEMBERS:
            known = ", ".join(_MEMBERS)
            raise RequestError(
                f"{field}.{name}", f"{field}.{name} is not known; {field} has the members {known}"
            )
        if value is not None:
            given[name] = _MEMBERS[name](f"{field}.{name}", value)
    if given.get("effort") == "none":
        given = {"budget": 0, **given}
    target = given.get("target_accuracy")
    if target is not None and not {"budget", "effort"}.isdisjoint(given):
        other = "a budget" if "budget" in given else "an effort"
        raise RequestError(
            f"{field}.target_accuracy",
            f"{field}.target_accuracy is {target:g} beside {other}; one of them must go",
        )
    # What chooses the budget takes the place of what chose it by default.
    if target is not None:
        given |= {"budget": None, "effort": None}
    elif "budget" in given:
        given |= {"effort": None, "target_accuracy": None}
    elif "effort" in given:
        given |= {"budget": None, "target_accuracy": None}
    merged = replace(base, **given)
    if "min_tokens" in given and merged.budget is not None and merged.min_tokens > merged.budget:
        raise RequestError(
            f"{field}.min_tokens",
            f"{field}.min_tokens is {merged.min_tokens}, more than the budget of {merged.budget} tokens; "
            "it must not exceed the budget",
        )
    return merged


def token_limit(field: str, value: object) -> int | None:
    """A number of tokens, or None for -1, which is no limit."""
    if isinstance(value, bool) or not isinstance(value, int) or value < UNLIMITED:
        raise RequestError(
            field,
            f"{field} is {value!r}; it must be an integer: tokens, 0 for no thinking, -1 for no limit",
        )
    return None if value == UNLIMITED else value


def effort_level(field: str, value: object) -> str:
    levels = ("none", *EFFORT_SHARES)
    if value not in levels:
        raise RequestError(field, f"{field} is {value!r}; it must be one of {', '.join(levels)}")
    return str(value)


def _count(field: str, value: object) -> int:
    return _whole(field, value, least=0)


def _whole(field: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise RequestError(field, f"{field} is {value!r}; it must be an integer of at least {least}")
    return value


def short_text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise RequestError(field, f"{field} is {value!r}; it must be a string")
    if len(value) > LONGEST_TEXT:
        raise RequestError(
            field,
            f"{field} has {len(value)} characters; it is tokenised whole, so it may have {LONGEST_TEXT}",
        )
    return value


def boolean(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise RequestError(field, f"{field} is {value!r}; it must be true or false")
    return value


def _number(field: str, value: object) -> float:
    # A whole number may be too large for a float; NaN is not less than anything.
    most = sys.float_info.max
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:
        raise RequestError(field, f"{field} is {value!r}; it must be a number")
    return float(value)


def _seconds(field: str, value: object) -> float | None:
    if value is False:
        return None
    if isinstance(value, bool) or _number(field, value) <= 0:
        raise RequestError(
            field, f"{field} is {value!r}; it must be a number of seconds above 0, or false for none"
        )
    return _number(field, value)


def _share(field: str, value: object) -> float:
    number = _number(field, value)
    if not 0 < number <= 1:
        raise RequestError(field, f"{field} is {value!r}; it must be a probability: above 0 and at most 1")
    return number


def _accuracy(field: str, value: object) -> float | None:
    if value is False:
        return None
    number = _number(field, value)
    if not 0 < number <= 1:
        raise RequestError(
            field,
            f"{field} is {value!r}; it must be a share right, above 0 and at most 1, or false",
        )
    return number


def _cost(field: str, value: object) -> float | None:
    if value is False:
        return None
    if _number(field, value) < 0:
        raise RequestError(
            field,
            f"{field} is {value!r}; it must be a mean number of tokens, at least 0, or false",
        )
    return _number(field, value)


def _family(field: str, value: object) -> str | None:
    return None if value is False else short_text(field, value)


def _at_least(least: int) -> Callable[[str, object], int]:
    return lambda field, value: _whole(field, value, least)


def _loop(field: str, value: object) -> LoopStop | None:
    checks = {"repeats": _at_least(2), "tokens": _at_least(2)}
    members = _switch_or_object(field, value, checks)
    return None if members is None else LoopStop(**members)


def _confident(field: str, value: object) -> ConfidentStop | None:
    one = _at_least(1)
    checks = {"every": one, "tokens": one, "induce": short_text, "threshold": _share, "agree": one}
    members = _switch_or_object(field, value, checks)
    return None if members is None else ConfidentStop(**members)


def _switch_or_object(
    field: str, value: object, checks: Mapping[str, Callable[[str, Any], Any]]
) -> dict[str, Any] | None:
    """The members of an object; true is an object without members, false is None."""
    if isinstance(value, bool):
        return {} if value else None
    if not isinstance(value, dict):
        raise RequestError(
            field, f"{field} is {value!r}; it must be true, false or an object with {', '.join(checks)}"
        )
    for name in value:
        if name not in checks:
            raise RequestError(
                f"{field}.{name}", f"{field}.{name} is not known; {field} has the members {', '.join(checks)}"
            )
    return {name: checks[name](f"{field}.{name}", item) for name, item in value.items() if item is not None}


_MEMBERS: dict[str, Callable[[str, Any], Any]] = {
    "budget": token_limit,
    "effort": effort_level,
    "target_accuracy": _accuracy,
    "max_cost": _cost,
    "family": _family,
    "deadline": _seconds,
    "soft": _count,
    "min_tokens": _count,
    "wait_text": short_text,
    "loop": _loop,
    "confident": _confident,
    "answer_reserve": _count,
    "stop_text": short_text,
    "entropy": boolean,
}
