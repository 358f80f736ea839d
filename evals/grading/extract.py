"""What the final answer of a reply is: its last box, else the answer it states.

Text before a closing thinking tag never counts. Replies are hostile: every search takes linear time.
"""

import re

# An escaped character comes second, so that `\{` and `\}` never count as braces.
_TOKENS = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*+\{|\\.|[{}]", re.DOTALL)
_UNBRACED_BOX = re.compile(r"\\boxed\s*+([0-9A-Za-z]|\\[a-z]+(?:\{[^{}]*\}){1,2})")
_THINKING = re.compile(r"<(/?)(?:think|thinking|thought|reasoning)>")
_BETWEEN_BOXES = re.compile(r"[\s,;$.]*(?:\\\(|\\\)|\\quad|\\qquad|\\text\{\s*(?:and|or)\s*\}|and|or|[\s,;$.])*[\s,;$]*")
_MAX_BETWEEN = 40
_TAIL = 20_000  # characters at a reply's end in which an unboxed answer is looked for
_MAX_STATED = 400
_HASHES = re.compile(r"####[ \t]*+([^\n]+)")
_STATED = re.compile(
    r"(?i:\b(?:final\s+answer|answer|result|solution)\b[*_]{0,2}\s*+(?:is|are|to\s+(?:the|this)\s+[a-z]{1,12}\s+is)"
    r"\s*+:?|(?:^|\n|\*\*|final\s)[ \t>#*_]*answer[*_]{0,2}[ \t]*+:)[*_ \t]*+\n?"
)
_SENTENCE_END = re.compile(r"\n|\.(?=\s|\Z)(?!\s?[0-9])|(?:,|;)\s(?=(?:which|where|since|because|so|as|hence)\b)|(?:I hope)")
_MATHS = re.compile(r"\$\$(.{1,2000}?)\$\$|(?<!\\)\$([^$\n]{1,2000}?)(?<!\\)\$|\\\[(.{1,2000}?)\\\]|\\\((.{1,2000}?)\\\)", re.DOTALL)
_BARE_LENGTH = 200


def after_thinking(response: str) -> str | None:
    """The text after the last closing tag of thinking; None when thinking is open at the end."""
    start, is_open = 0, False
    for tag in _THINKING.finditer(response):
        is_open = tag[1] == ""
        if not is_open:
            start = tag.end()
    return None if is_open else response[start:]


def boxes(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of every outermost or innermost complete box, in order of opening."""
    open_braces: list[tuple[int, int] | None] = []  # a box's start and its content's, None for a plain brace
    found: list[tuple[int, int, str]] = []
    for token in _TOKENS.finditer(text):
        mark = token.group()
        if mark == "{":
            open_braces.append(None)
        elif mark == "}":
            opened = open_braces.pop() if open_braces else None
            if opened is not None:
                found.append((opened[0], token.end(), text[opened[1] : token.start()]))
        elif len(mark) > 2:
            open_braces.append((token.start(), token.end()))
    return sorted(found)


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
        elif len(mark) > 2:
            open_braces.append(token.end())
    return None if best is None else text[best[0] : best[1]]


def boxed_answer(text: str) -> str | None:
    """The last box, with the boxes just before it when only commas or "and" stand between: "1, 2"."""
    last = last_boxed(text)
    if last is None:
        unbraced = None
        for unbraced in _UNBRACED_BOX.finditer(text):
            pass
        return None if unbraced is None else unbraced[1]
    end = text.rindex(last + "}") if last else len(text)
    parts = [last]
    start = text.rfind("\\", 0, end)
    while start > 0:
        gap_start = text.rfind("}", max(0, start - _MAX_BETWEEN), start)
        if gap_start < 0 or not _joins(text[gap_start + 1 : start]):
            break
        earlier = last_boxed(text[max(0, gap_start - 2_000) : gap_start + 1])
        if earlier is None or not text[: gap_start + 1].endswith(earlier + "}"):
            break
        parts.insert(0, earlier)
        start = text.rfind("\\", 0, gap_start - len(earlier))
        if len(parts) > 20:
            break
    return ", ".join(parts)


def _joins(gap: str) -> bool:
    return bool(gap.strip(" $\n")) and _BETWEEN_BOXES.fullmatch(gap) is not None


def stated_answer(text: str) -> str | None:
    """What follows "#### ", "the answer is" or "ANSWER:" last; else the last formula; else None."""
    tail = text[-_TAIL:]
    hashes = None
    for hashes in _HASHES.finditer(tail):
        pass
    if hashes is not None:
        return hashes[1].strip()
    stated = None
    for stated in _STATED.finditer(tail):
        pass
    if stated is not None:
        sentence = tail[stated.end() : stated.end() + _MAX_STATED]
        formula = _MATHS.match(sentence.lstrip(" \n:*"))
        if formula is not None:
            return _formulas(sentence)
        end = _SENTENCE_END.search(sentence.lstrip())
        found = sentence.lstrip()[: end.start() if end else None].strip(" *_\n\t")
        return _last_formula(found) or found or None
    return _last_formula(tail)


def _formulas(sentence: str) -> str:
    """The formula at the start of `sentence`, with the text beside it on the same line when it is short."""
    line = sentence.lstrip(" \n:*")
    end = _SENTENCE_END.search(line)
    piece = line[: end.start() if end else None]
    return piece if len(piece) <= 80 and piece.count("$") % 2 == 0 else _group(_MATHS.match(line))


def _last_formula(text: str) -> str | None:
    last = None
    for last in _MATHS.finditer(text):
        pass
    return None if last is None else _group(last)


def _group(match: "re.Match[str] | None") -> str:
    return "" if match is None else next((each for each in match.groups() if each is not None), "").strip()


def final_answer(response: str) -> str | None:
    """The final answer in `response`, as written; None when there is none, or thinking never closed.

    In order: the last complete box (adjacent boxes joined), what is stated after "####", "the answer is" or
    "ANSWER:", the last formula, and a short reply that is nothing but an answer.
    """
    text = after_thinking(response)
    if text is None:
        return None
    boxed = boxed_answer(text)
    if boxed is not None:
        return boxed.strip() or None
    if "\\boxed" in text:  # a box that never closes: the answer was cut off
        return None
    return stated_answer(text) or bare_answer(text)


def bare_answer(text: str) -> str | None:
    """`text` when it is one short line, so that all of it may be the answer."""
    line = text.strip()
    return line if 0 < len(line) <= _BARE_LENGTH and "\n" not in line else None


def expected_answer(gold: str) -> str:
    """The answer in `gold`: most often `gold` itself; its box or "####" when it is a whole solution."""
    if "\\boxed" in gold or "####" in gold:
        return final_answer(gold) or gold
    return gold if len(gold) <= 2 * _BARE_LENGTH else stated_answer(gold) or gold
