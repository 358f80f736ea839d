"""Grade an answer: the last complete `\\boxed{...}` against the expected integer or string.

Model output is hostile input: nothing is evaluated, numbers stay strings (so a million digits cost a
million character comparisons and nothing more), and the text is read once.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

# An escaped character comes second, so that `\{` and `\}` never count as braces.
_TOKENS = re.compile(r"\\boxed\s*+\{|\\.|[{}]", re.DOTALL)
_INTEGER = re.compile(r"([+-]?)\s*+([0-9]++|[0-9]{1,3}(?:(?:,|\{,\})[0-9]{3})++)")


class Verdict(StrEnum):
    """How an answer compares with the expected one."""

    EQUAL = "equal"
    DIFFERENT = "different"
    NO_ANSWER = "no answer"


@dataclass(frozen=True, slots=True)
class Grade:
    """The outcome of grading one answer.

    `answer` is the normalised content of the last complete box, None when there is none.
    """

    correct: bool
    answer: str | None
    verdict: Verdict


def last_boxed(text: str) -> str | None:
    """Content of the complete `\\boxed{...}` that opens last, braces balanced; None without one.

    A box that never closes (a truncated answer) is passed over. Time is linear in the text's length.
    """
    open_braces: list[int | None] = []  # start of the content for a box, None for a plain brace
    best: tuple[int, int] | None = None
    for token in _TOKENS.finditer(text):
        mark = token.group()
        if mark == "{":
            open_braces.append(None)
        elif mark == "}":
            start = open_braces.pop() if open_braces else None
            if start is not None and (best is None or start > best[0]):
                best = (start, token.start())
        elif mark.startswith("\\boxed"):
            open_braces.append(token.end())
    return None if best is None else text[best[0] : best[1]]


def normalise(answer: str) -> str:
    """Trim, and write integers one way: no plus sign, leading zeros, separators or negative zero.

    What is not an integer is only trimmed. Digits are ASCII; U+2212 counts as a minus sign.
    """
    answer = answer.strip()
    match = _INTEGER.fullmatch(answer.replace("\N{MINUS SIGN}", "-"))
    if match is None:
        return answer
    digits = match[2].replace("{,}", "").replace(",", "").lstrip("0")
    if not digits:
        return "0"
    return "-" + digits if match[1] == "-" else digits


def grade(gold: str, response: str) -> Grade:
    """Compare the last complete box of `response` (the answer only, without thinking) with `gold`.

    Exact match after `normalise`. An empty box is no answer.
    """
    boxed = last_boxed(response)
    if boxed is None or not boxed.strip():
        return Grade(correct=False, answer=None, verdict=Verdict.NO_ANSWER)
    answer = normalise(boxed)
    correct = answer == normalise(gold)
    return Grade(correct, answer, Verdict.EQUAL if correct else Verdict.DIFFERENT)
