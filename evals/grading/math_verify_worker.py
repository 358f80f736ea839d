"""What a worker runs for `--grader math-verify`: its documented use, in a main thread, as its alarms need."""

from typing import Any

from math_verify import parse, verify

# Without one of these it takes a gold for prose, and finds no LaTeX in it.
_MARKS = ("$", r"\boxed", r"\(", r"\[")


def check(gold: str, response: str) -> list[Any]:
    """Whether math-verify accepts, and what it read: `[gold was read, answer or None, equal]`."""
    expected = parse(gold if any(mark in gold for mark in _MARKS) else rf"\boxed{{{gold}}}")
    found = parse(response)
    answer = str(found[-1]) if found else None
    return [bool(expected), answer, bool(expected and found and verify(expected, found))]
