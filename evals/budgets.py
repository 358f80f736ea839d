"""Budgets as the command line, the store and the reports write them.

A sweep moves along one axis: tokens (0 is thinking off, "max" no limit), shares of each trace's own natural
length, effort levels, or a switch. 0 and "max" lie on the axis of shares too.
"""

import re
from collections.abc import Iterable
from typing import Literal, TypeGuard

Budget = int | str
"""Tokens, "max", a share such as "50%", an effort level, or "off" and "on"."""

Axis = Literal["tokens", "share", "effort", "switch"]

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
SWITCH = ("off", "on")
_SHARE = re.compile(r"[1-9][0-9]?%")


def parse_budgets(text: str) -> list[Budget]:
    """Read "0,8,16,max", "low,medium,high" or "off,on", ascending, each once.

    Raises ValueError naming the item that is no budget, or the two that lie on different axes.
    """
    budgets: list[Budget] = []
    for item in text.split(","):
        word = item.strip()
        if word in ("max", *EFFORTS, *SWITCH) or is_share(word):
            budgets.append(word)
        elif word.isascii() and word.isdecimal() and len(word) <= 9:
            budgets.append(int(word))
        else:
            raise ValueError(
                f"budgets: {word!r} is not a budget; give whole numbers of tokens from 0 to 999999999, max "
                f"for no limit (0,8,16,32,max), shares of the natural length from 1% to 99% (0,25%,50%,max), "
                f"effort levels ({', '.join(EFFORTS)}), or off,on"
            )
    axis_of(budgets)
    return sort_budgets(budgets)


def axis_of(budgets: Iterable[Budget]) -> Axis:
    """The axis that all budgets lie on. Raises ValueError naming two that lie on different ones."""
    given = list(budgets)
    ends = given if not any(map(is_share, given)) else [b for b in given if b not in (0, "max")]
    for budget in ends[1:]:
        if _axis(budget) != _axis(ends[0]):
            raise ValueError(
                f"budgets: {ends[0]} counts {_axis(ends[0])} and {budget} {_axis(budget)}; "
                "a sweep moves along one axis"
            )
    return _axis(ends[0]) if ends else "tokens"


def sort_budgets(budgets: Iterable[Budget]) -> list[Budget]:
    """Ascending along their axis, each once; "max" comes after all tokens."""
    return sorted(set(budgets), key=as_number)


def as_number(budget: Budget) -> float:
    """The place of a budget on its axis: tokens or share (infinity for "max"), or the rank of the level."""
    if isinstance(budget, int):
        return float(budget)
    if budget == "max":
        return float("inf")
    if is_share(budget):
        return int(budget[:-1]) / 100
    return float((SWITCH if budget in SWITCH else EFFORTS).index(budget))


def is_share(budget: Budget) -> TypeGuard[str]:
    """Whether a budget is a share of each trace's natural length, "1%" to "99%"."""
    return isinstance(budget, str) and _SHARE.fullmatch(budget) is not None


def limit_of(budget: Budget, natural: int) -> float:
    """Most thinking tokens of a trace that would think `natural` ones: infinity where nothing limits it.

    A share is rounded down, to at least 1: less would be a reply without thinking, which has another prompt.
    """
    if is_share(budget):
        return float(max(1, natural * int(budget[:-1]) // 100))
    return as_number(budget)


def _axis(budget: Budget) -> Axis:
    if is_share(budget):
        return "share"
    if isinstance(budget, int) or budget == "max":
        return "tokens"
    return "switch" if budget in SWITCH else "effort"
