"""Verdicts, grades, and the conventions on which graders disagree."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Verdict(StrEnum):
    """How an answer compares with the expected one.

    UNPARSABLE: the answer is neither mathematics that we read nor plain words, and is not the same text.
    LIMIT: too large, or not settled within the time and memory of a worker.
    CENSORED: thinking was opened and never closed, so there is no answer yet.
    """

    EQUAL = "equal"
    DIFFERENT = "different"
    NO_ANSWER = "no answer"
    UNPARSABLE = "unparsable"
    LIMIT = "limit"
    CENSORED = "censored"


@dataclass(frozen=True, slots=True)
class Grade:
    """The outcome of grading one answer.

    answer: what was taken for the final answer, None when there is none.
    method: the stage that settled it: "exact" (same text), "number" (plain numbers), "typed" (parsed
        values compared part by part), "symbolic" (computer algebra in a worker), "math-verify" (that library,
        as another grader), "none".
    """

    correct: bool
    answer: str | None
    verdict: Verdict
    method: str = "none"


@dataclass(frozen=True, slots=True)
class GradingOptions:
    """Conventions on which graders disagree; reports print them by name.

    percent: what "10 %" equals: the number 10, the fraction 0.10, or either.
    ordered_lists: whether the bare list "1, 2" differs from "2, 1" (tuples are always ordered).
    units: "ignore": they never matter; "compare": two known units must agree after conversion, others must
        share a word, and a missing one is forgiven; "require": a missing one is not.
    decimal_comma: whether "1,5" may be read as 1.5.
    rounded_digits: a decimal with at least this many significant digits equals an exact value (a fraction,
        radical, ...) that rounds to it; 0: never.
    mixed_numbers: whether "3 1/2" is 7/2; otherwise it is a product.
    bare_base: whether the digits 17 alone stand for 17_8, whose base the question gives.
    symbolic: whether what numbers cannot settle goes to computer algebra; otherwise it is a LIMIT.
    """

    percent: Literal["number", "fraction", "either"] = "either"
    ordered_lists: bool = False
    units: Literal["ignore", "compare", "require"] = "compare"
    decimal_comma: bool = True
    rounded_digits: int = 3
    mixed_numbers: bool = True
    bare_base: bool = True
    symbolic: bool = True


class TooLargeError(Exception):
    """Input or an intermediate value passes a size limit, so the answer cannot be settled."""


class TooLongError(Exception):
    """Comparing takes more time than one comparison may have, so it is not settled."""


class ParseError(Exception):
    """Text that is not mathematics we read."""
