"""The gold answer of a row of a published data set, in the form each set gives it."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]
Extractor = Callable[[Row], str]
_HASHES = re.compile(r"####\s*(.+?)\s*$")


def column(name: str) -> Extractor:
    """The answer as a column holds it; whole floats (27.0) lose their point."""

    def extract(row: Row) -> str:
        value = row[name]
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        return str(value).strip()

    return extract


def integer(name: str) -> Extractor:
    """A whole number as a column holds it, without leading zeros: AIME's 073 is 73, AMC's 27.0 is 27."""

    def extract(row: Row) -> str:
        text = str(row[name]).strip()
        number = float(text)
        if not number.is_integer():
            raise ValueError(f"column {name!r} is {text!r}; expected a whole number")
        return str(int(number))

    return extract


def after_hashes(name: str) -> Extractor:
    """GSM8K: what follows `####` at the end of the worked answer, without thousands separators."""

    def extract(row: Row) -> str:
        match = _HASHES.search(str(row[name]))
        if match is None:
            raise ValueError(f"column {name!r} does not end in '#### ANSWER'")
        return match[1].replace(",", "")

    return extract


def boxed(name: str) -> Extractor:
    r"""MATH: the content of the last `\boxed{...}` or `\boxed x` of the solution."""

    def extract(row: Row) -> str:
        content = last_boxed(str(row[name]))
        if not content:
            raise ValueError(f"column {name!r} holds no answer in \\boxed{{}}")
        return content

    return extract


def listed(name: str, separator: str = ", ") -> Extractor:
    """OlympiadBench: a list of one or more answers (each may itself hold several), `$` signs dropped."""

    def extract(row: Row) -> str:
        answers = [str(answer).replace("$", "").strip() for answer in row[name] or ()]
        if not all(answers) or not answers:
            raise ValueError(f"column {name!r} is {row[name]!r}; expected a list of answers")
        return separator.join(answers)

    return extract


def last_boxed(text: str) -> str | None:
    r"""The content of the last complete `\boxed{...}` (or `\fbox`, or `\boxed x`), or None."""
    for match in reversed(list(re.finditer(r"\\(?:boxed|fbox)\s*", text))):
        rest = text[match.end() :]
        if not rest.startswith("{"):
            bare = re.match(r"\\?\w+", rest)
            if bare:
                return bare[0]
            continue
        depth = 0
        for index, character in enumerate(rest):
            if rest[index - 1 : index] == "\\" and character in "{}":
                continue
            depth += (character == "{") - (character == "}")
            if depth == 0:
                return rest[1:index].strip()
    return None
