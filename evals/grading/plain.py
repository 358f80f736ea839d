"""Plain numbers, decided without a parser: most answers are integers, decimals or simple fractions."""

import re
from fractions import Fraction

from evals.grading.spelling import repair

_INTEGER = re.compile(r"([+-]?)\s*+([0-9]++|[1-9][0-9]{0,2}(?:(?:,|\{,\}|\\,|,\\!)[0-9]{3})++)(?:\.0*+)?")
_NUMBER = re.compile(r"([+-]?)([0-9]{1,400})(?:\.([0-9]{1,400}))?")
_FRACTION = re.compile(
    r"([+-]?)(?:\\[dtc]?frac\s?(?:\{([+-]?[0-9]{1,400})\}\{([0-9]{1,400})\}|([0-9])([0-9]))|([0-9]{1,400})\s?/\s?([0-9]{1,400}))"
)
_CONTROLS = re.compile(r"[\t\r\x08\x0b\x0c]")
_DIGIT_MARKS = re.compile(r"\{,\}|\\,|,\\!|,")


def normalise(answer: str) -> str:
    """Trim dollar signs and spaces, and write integers one way: no plus, leading zeros, separators or -0.

    What is not an integer is only trimmed. Digits stay text, so a million of them cost a million comparisons.
    """
    if _CONTROLS.search(answer):
        answer = repair(answer)
    answer = answer.strip()
    if len(answer) > 1 and answer[0] == "$" == answer[-1] and "$" not in answer[1:-1]:
        answer = answer[1:-1].strip()
    match = _INTEGER.fullmatch(answer.replace("\N{MINUS SIGN}", "-"))
    if match is None:
        return answer
    digits = _DIGIT_MARKS.sub("", match[2]).lstrip("0")
    if not digits:
        return "0"
    return "-" + digits if match[1] == "-" else digits


def plain_number(text: str) -> Fraction | None:
    """The value of a normalised integer, a decimal or a fraction of integers; None for anything else.

    A number with a comma is left to the parser, since the comma may separate.
    """
    match = _NUMBER.fullmatch(text)
    if match is not None:
        whole, places = match[2], match[3] or ""
        value = Fraction(int(whole + places), 10 ** len(places))
        return -value if match[1] == "-" else value
    match = _FRACTION.fullmatch(text)
    if match is None:
        return None
    top = int(match[2] or match[4] or match[6])
    bottom = int(match[3] or match[5] or match[7])
    if bottom == 0:
        return None
    return Fraction(-top if match[1] == "-" else top, bottom)
