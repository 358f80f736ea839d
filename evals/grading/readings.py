"""Ways to read an answer's text: as mathematics, with each meaning a comma may have, or as words."""

import re
from functools import lru_cache

from evals.grading.answers import AnswerParser, unnested
from evals.grading.options import GradingOptions, ParseError, TooLargeError
from evals.grading.tokens import MAX_CHARACTERS, spell, tokenise
from evals.grading.tree import Node, node, number

_WRAPPING = re.compile(r"\A(?:\\\[|\\\(|\$\$?)(.*?)(?:\\\]|\\\)|\$\$?)\Z", re.DOTALL)
_LIST_OF_THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")
_DECIMAL_COMMA = re.compile(r"(?<![0-9.,])([0-9]+),([0-9]+)(?![0-9,])")


def readings(text: str, options: GradingOptions) -> tuple[Node, ...]:
    """Ways to read `text`, the likeliest first; words (a `text` node) where it is not mathematics.

    There is more than one where a comma between digits may separate thousands, items or decimals.
    TooLargeError past the size limits.
    """
    if len(text) > MAX_CHARACTERS:
        raise TooLargeError(f"an answer of {len(text)} characters, more than {MAX_CHARACTERS}")
    return _readings(text, options)


@lru_cache(maxsize=4096)
def _readings(text: str, options: GradingOptions) -> tuple[Node, ...]:
    text = strip(spell(text))
    spellings = [text]
    if "," in text and any(mark.isdigit() for mark in text):
        inside = text.lstrip("-").startswith(("(", "[", "\\{", "{", "\\left"))
        grouped = _LIST_OF_THOUSANDS.sub(lambda run: run.group().replace(",", ""), text)
        spellings = (
            [grouped]
            if grouped == text
            else [text, grouped]
            if inside and ", " not in text
            else [grouped, text]
        )
        if options.decimal_comma:
            decimal = _DECIMAL_COMMA.sub(r"\1.\2", text)
            if decimal != text and not inside:
                spellings.append(decimal)
    found: list[Node] = []
    for spelling in spellings:
        reading = _parsed(spelling, options)
        if reading not in found:
            found.append(reading)
    return tuple(found)


def _parsed(text: str, options: GradingOptions) -> Node:
    try:
        tokens = unnested(tokenise(text))
        if not tokens:
            return node("text", name="")
        if tokens[0].kind == "text" and len(tokens) == 1:
            return words(tokens[0].text)
        return AnswerParser(tokens, options).whole()
    except ParseError:
        return words(text)


_NOT_WORDS = re.compile(r"[\\${}]|\s+|[.,;:!?\"'`*()]")
_COMMAND = re.compile(
    r"\\(?:text|mbox|textbf|textit|mathrm|textrm|mathbf|left|right|quad|qquad|operatorname)\b|\\[ ,;:!]"
)
_ARTICLES = frozenset(["the", "a", "an"])
_SMALL_NUMBERS = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty".split()
    )
}


def words(text: str) -> Node:
    """Words as a node: lower case, without articles, punctuation and formatting; a number's name is a number."""
    kept = [
        word for word in _NOT_WORDS.sub(" ", _COMMAND.sub(" ", text)).lower().split() if word not in _ARTICLES
    ]
    if len(kept) == 1 and kept[0] in _SMALL_NUMBERS:
        return number(int(_SMALL_NUMBERS[kept[0]]))
    return node("text", name=" ".join(kept))


def strip(text: str) -> str:
    """`text` without dollar signs, bold marks and punctuation around it."""
    text = text.strip()
    for _ in range(4):
        before = text
        text = text.strip().strip("\0").rstrip(".,;").strip()
        for mark in ("**", "__", "``", "`"):
            if text.startswith(mark) and text.endswith(mark) and len(text) > 2 * len(mark):
                text = text[len(mark) : -len(mark)]
        match = _WRAPPING.match(text)
        if match is not None and "$" not in match[1] and "\\(" not in match[1]:
            text = match[1]
        if text == before:
            break
    return text
