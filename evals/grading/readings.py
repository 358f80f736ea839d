"""Ways to read an answer's text: as mathematics, with each meaning a comma may have, or as words."""

import re
from functools import lru_cache

from evals.grading.answers import AnswerParser, unnested
from evals.grading.options import GradingOptions, ParseError, TooLargeError
from evals.grading.spelling import spell
from evals.grading.tokens import MAX_CHARACTERS, Token, tokenise
from evals.grading.tree import Node, constant, node, number, symbol
from evals.grading.vocabulary import SHORT_WORDS, known_word, names

_WRAPPING = re.compile(r"\A(?:\\\[|\\\(|\$\$?)(.*?)(?:\\\]|\\\)|\$\$?)\Z", re.DOTALL)
_LIST_OF_THOUSANDS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])")
_DECIMAL_COMMA = re.compile(r"(?<![0-9.,])([0-9]+),([0-9]+)(?![0-9,])")


_SHORT = 200  # characters of an answer whose readings are kept
_LINES = re.compile(r"\s*\n\s*")
_ROWS = re.compile(r"\\(?:begin|end)\s*\{[pb]?matrix\}|\\\\|\\text\s*\{\s*\}|\^\s*\{\s*\}(?=\s*\\\\)")
_VERBS = frozenset(["is", "are", "equals", "be", "was"])
_ABOUT = re.compile(
    r"(?<=\S)\s*(?:\\[;,! ]|\\q?quad|\s)*(?:\\(?:text|mbox)\s*\{\s*)?"
    r"\(\s*(?:or\s+)?(?:approximately|about|approx\.?|\\approx)(?![a-z]).*\Z",
    re.DOTALL,
)


def readings(text: str, options: GradingOptions) -> tuple[Node, ...]:
    """Ways to read `text`, the likeliest first; words (a `text` node) where it is not mathematics.

    There is more than one where a comma between digits may separate thousands, items or decimals.
    TooLargeError past the size limits.
    """
    if len(text) > MAX_CHARACTERS:
        raise TooLargeError(f"an answer of {len(text)} characters, more than {MAX_CHARACTERS}")
    return _remembered(text, options) if len(text) <= _SHORT else _readings(text, options)


@lru_cache(maxsize=4096)
def _remembered(text: str, options: GradingOptions) -> tuple[Node, ...]:
    """Readings of a short text: golds come again with every sample."""
    return _readings(text, options)


def _readings(text: str, options: GradingOptions) -> tuple[Node, ...]:
    text = _ABOUT.sub("", strip(spell(text)))
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
        for reading in _alternatives(_parsed(spelling, options)):
            if reading not in found:
                found.append(reading)
    return tuple(found)


def _alternatives(reading: Node) -> tuple[Node, ...]:
    """The reading; and, where a sentence ends in "... is" and a formula, the formula alone."""
    ends_in_formula = reading.kind == "phrase" and [part.kind == "text" for part in reading.args] == [
        True,
        False,
    ]
    if ends_in_formula and reading.args[0].name.split()[-1] in _VERBS:
        return reading, reading.args[1]
    return (reading,)


def _parsed(text: str, options: GradingOptions) -> Node:
    try:
        tokens = unnested(tokenise(text))
        if not tokens:
            return node("text", name="")
        if tokens[0].kind == "text" and len(tokens) == 1:
            return words(tokens[0].text)
    except ParseError:
        return words(text)
    try:
        return AnswerParser(list(tokens), options).whole()
    except ParseError:
        return _phrase(tokens, options) or _joined_lines(text, options) or words(text)


def _joined_lines(text: str, options: GradingOptions) -> Node | None:
    """Lines as items of a list, or a formula spread over the rows of a matrix, as models sometimes write."""
    for pattern, joint in ((_LINES, ", "), (_ROWS, " ")):
        joined = pattern.sub(joint, text)
        if joined != text:
            try:
                return AnswerParser(unnested(tokenise(joined)), options).whole()
            except ParseError:
                continue
    return None


def _phrase(tokens: list[Token], options: GradingOptions) -> Node | None:
    """Words and formulas in turn, as in "max at x = 7"; None where a formula cannot be read either."""
    parts: list[Node] = []
    run: list[Token] = []
    for token in [*tokens, Token("text", "", False)]:
        if token.kind == "text" or _is_prose(token):
            if run:
                try:
                    parts.append(AnswerParser(run, options).whole())
                except ParseError:
                    return None
            run = []
            said = words(token.text)
            if said.name:
                parts.append(said)
        elif run or token.text not in (",", ".", ";", ":"):
            run.append(token)
    spoken = [part for part in parts if part.kind == "text"]
    return node("phrase", *parts) if spoken and len(spoken) < len(parts) else None


def _is_prose(token: Token) -> bool:
    return (
        token.kind == "word"
        and len(token.text) > 1
        and not known_word(token.text)
        and (len(token.text) > 3 or token.text.lower() in SHORT_WORDS)
    )


_NOT_WORDS = re.compile(r"[\\${}]|\s+|[.,;:!?\"'`*()]")
_COMMAND = re.compile(
    r"\\(?:text|mbox|textbf|textit|mathrm|textrm|mathbf|left|right|quad|qquad|operatorname)\b|\\[ ,;:!]"
)
_ARTICLES = frozenset(["the", "a", "an"])
_NOTHING = ("no solution", "no solutions", "no real solution", "no real solutions", "none", "empty set")
_MEANINGS = {
    **dict.fromkeys(["all real numbers", "all reals", "real numbers", "all real x"], symbol("set R")),
    **dict.fromkeys([*_NOTHING, "there is no solution", "there are no solutions"], symbol("emptyset")),
    **dict.fromkeys(["does not exist", "dne", "undefined", "not defined"], node("text", name="undefined")),
    "infinity": constant("oo"),
}
_SMALL_NUMBERS = names(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)


def words(text: str) -> Node:
    """Words as a node: lower case, without articles, punctuation and formatting; "two" is a number."""
    said = _NOT_WORDS.sub(" ", _COMMAND.sub(" ", text)).lower().split()
    kept = [word for word in said if word not in _ARTICLES] or said  # "A" alone is a choice
    if len(kept) == 1 and kept[0] in _SMALL_NUMBERS:
        return number(_SMALL_NUMBERS.index(kept[0]))
    meant = _MEANINGS.get(" ".join(kept))
    if meant is not None:
        return meant
    return node("text", name=" ".join(kept))


def strip(text: str) -> str:
    """`text` without dollar signs, bold marks and punctuation around it."""
    text = text.strip()
    for _ in range(4):
        before = text
        text = text.strip().strip("\0").rstrip(".,;").strip().removeprefix("\\displaystyle").lstrip(": \n")
        for mark in ("**", "__", "``", "`"):
            if text.startswith(mark) and text.endswith(mark) and len(text) > 2 * len(mark):
                text = text[len(mark) : -len(mark)]
        match = _WRAPPING.match(text)
        if match is not None and "$" not in match[1] and "\\(" not in match[1]:
            text = match[1]
        if text == before:
            break
    return text
