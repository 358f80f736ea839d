"""Budgets as the command line, the store and the reports write them.

A sweep moves along one axis: tokens (0 is thinking off, "max" no limit), effort levels, or a switch.
"""

from collections.abc import Iterable
from typing import Literal

Budget = int | str
"""Tokens, "max", an effort level, or "off" and "on"."""

Axis = Literal["tokens", "effort", "switch"]

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
SWITCH = ("off", "on")


def parse_budgets(text: str) -> list[Budget]:
    """Read "0,8,16,max", "low,medium,high" or "off,on", ascending, each once.

    Raises ValueError naming the item that is no budget, or the two that lie on different axes.
    """
    budgets: list[Budget] = []
    for item in text.split(","):
        word = item.strip()
        if word in ("max", *EFFORTS, *SWITCH):
            budgets.append(word)
        elif word.isascii() and word.isdecimal() and len(word) <= 9:
            budgets.append(int(word))
        else:
            raise ValueError(
                f"budgets: {word!r} is not a budget; give whole numbers of tokens from 0 to 999999999, max "
                f"for no limit (0,8,16,32,max), effort levels ({', '.join(EFFORTS)}), or off,on"
            )
    axis_of(budgets)
    return sort_budgets(budgets)


def axis_of(budgets: Iterable[Budget]) -> Axis:
    """The axis that all budgets lie on. Raises ValueError naming two that lie on different ones."""
    first: Budget | None = None
    for budget in budgets:
        if first is None:
            first = budget
        elif _axis(budget) != _axis(first):
            raise ValueError(
                f"budgets: {first} counts {_axis(first)} and {budget} {_axis(budget)}; "
                "a sweep moves along one axis"
            )
    return "tokens" if first is None else _axis(first)


def sort_budgets(budgets: Iterable[Budget]) -> list[Budget]:
    """Ascending along their axis, each once; "max" comes after all tokens."""
    return sorted(set(budgets), key=as_number)


def as_number(budget: Budget) -> float:
    """The place of a budget on its axis: tokens (infinity for "max"), or the rank of the level."""
    if isinstance(budget, int):
        return float(budget)
    if budget == "max":
        return float("inf")
    return float((SWITCH if budget in SWITCH else EFFORTS).index(budget))


def _axis(budget: Budget) -> Axis:
    if isinstance(budget, int) or budget == "max":
        return "tokens"
    return "switch" if budget in SWITCH else "effort"
