"""Budgets as the command line, the store and the reports write them: tokens, or "max"."""

from collections.abc import Iterable
from typing import Literal

Budget = int | Literal["max"]


def parse_budgets(text: str) -> list[Budget]:
    """Read "0,8,16,max" into [0, 8, 16, "max"], ascending, each once.

    Raises ValueError naming the item that is not a whole number >= 0 or `max`.
    """
    budgets: set[Budget] = set()
    for item in text.split(","):
        word = item.strip()
        if word == "max":
            budgets.add("max")
        elif word.isascii() and word.isdecimal() and len(word) <= 9:
            budgets.add(int(word))
        else:
            raise ValueError(
                f"budgets: {word!r} is not a budget; give whole numbers of tokens from 0 to 999999999, "
                "or max for no limit, separated by commas: 0,8,16,32,64,max"
            )
    return sort_budgets(budgets)


def sort_budgets(budgets: Iterable[Budget]) -> list[Budget]:
    """Ascending, with "max" last."""
    return sorted(set(budgets), key=as_number)


def as_number(budget: Budget) -> float:
    """The budget as a number, infinity for "max"."""
    return float("inf") if budget == "max" else float(budget)
