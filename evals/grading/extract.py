"""What the final answer of a reply is: its last box, else the answer it states.

Text before a closing thinking tag never counts. Replies are hostile: every search takes linear time.
"""

import re

from evals.grading.spelling import repair

# An escaped character comes second, so that `\{` and `\}` never count as braces.
_TOKENS = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*+\{|\\.|[{}]", re.DOTALL)
_UNBRACED_BOX = re.compile(r"\\boxed\s*+([0-9A-Za-z]|\\[a-z]+(?:\{[^{}]*\}){1,2})")
_THINKING = re.compile(r"<(/?)(?:think|thinking|thought|reasoning)>")
_JOINER = re.compile(r"\b(?:and|or)\b|[,;&]|\\q?quad")
_WORDS_FIRST = re.compile(r"(?<!\\)\b(?!text\b|quad\b|qquad\b|and\b|or\b|mbox\b)[A-Za-z]+")
_NO_JOINT = re.compile(r"[0-9=.:]|\bthen\b|\n\s*\n")
_MAX_GAP = 60  # characters between boxes of one answer
_MAX_BOXES = 1_000
_SPECIAL = re.compile(
    r"<\|(?:im_end|im_start|endoftext|eot_id|end_of_text|end|eom_id)\|>|<｜end▁of▁sentence｜>|</s>|<eos>|<end_of_turn>"
)
_TAIL = 20_000  # characters at a reply's end in which an unboxed answer is looked for
_HASHES = re.compile(r"####[ \t]*+([^\n]+)\s*+(?=\Z|<)")  # elsewhere it is a heading
_MAX_STATED = 400
_STATED = re.compile(
    r"(?i:\b(?:final\s+answer|answer|result|solution)\b[*_]{0,2}\s*+(?:is|are|to\s+(?:the|this)\s+[a-z]{1,12}\s+is)\b"
    r"\s*+:?|(?<![a-z])answer[*_]{0,2}[ \t]*+:|(?:\A|\n)A:"
    r"|(?:答案|答え)(?:是|为|為|は)?[:：]?|\b(?:réponse|respuesta|resposta|risposta|antwort|ответ)(?:\s(?:est|es|è|é|ist))?\s?:?)"
    r"[*_ \t]*+\n?"
)
_SENTENCE_END = re.compile(r"\n|\.(?=\s|\Z)|[,;]\s(?=(?:which|where|since|because|so|as|hence)\b)|I hope")
_MATHS = re.compile(
    r"\$\$(.{1,2000}?)\$\$|(?<!\\)\$([^$\n]{1,2000}?)(?<!\\)\$|\\\[(.{1,2000}?)\\\]|\\\((.{1,2000}?)\\\)",
    re.DOTALL,
)
_NUMBER = re.compile(
    r"[-+]?0(?:[xX][0-9A-Fa-f]+|[bB][01]+|[oO][0-7]+)\b"
    r"|[-+]?[$€£]?(?:[0-9]+(?:,[0-9]{3})+|[0-9]+)(?:[.,][0-9]+)?(?:\s?[%€$°²³]|\s?/\s?[0-9]+)?|[-+]?\.[0-9]+"
)
_BOLD = re.compile(r"\*\*([^*\n]{1,60})\*\*")
_VERB = re.compile(r"\b(?:is|are|equals?|was|were|be)\b:?\s|=\s?")
_PLAIN_WORDS = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}|[^\W\d_A-Za-zα-ωΑ-Ω]{2}")
_BARE_LENGTH = 200
_FEW_WORDS = 2


def after_thinking(response: str) -> str | None:
    """The text after the last closing tag of thinking; None when thinking is open at the end."""
    start, is_open = 0, False
    for tag in _THINKING.finditer(response):
        is_open = tag[1] == ""
        if not is_open:
            start = tag.end()
    if is_open:
        return None
    end = _SPECIAL.search(response, start)
    return response[start : end.start() if end else len(response)]


def boxes(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of every complete box, in order of opening; time linear in the text's length.

    A box that never closes (a truncated answer) is passed over.
    """
    open_braces: list[tuple[int, int] | None] = []  # a box's start and its content's, None for a plain brace
    found: list[tuple[int, int, int]] = []
    for token in _TOKENS.finditer(text):
        mark = token.group()
        if mark == "{":
            open_braces.append(None)
        elif mark == "}":
            opened = open_braces.pop() if open_braces else None
            if opened is not None:
                found.append((opened[0], token.end(), opened[1]))
        elif len(mark) > 2:
            open_braces.append((token.start(), token.end()))
    kept = sorted(found)[-_MAX_BOXES:]
    return [(start, end, text[content : end - 1]) for start, end, content in kept]


def last_boxed(text: str) -> str | None:
    """Content of the complete `\\boxed{...}` that opens last, braces balanced; None without one."""
    found = boxes(text)
    return found[-1][2] if found else None


def boxed_answer(text: str) -> str | None:
    """The last box, with the boxes before it when only "and", a comma or the like stand between: "1, 2"."""
    found = boxes(text)
    if not found:
        unbraced = _last(_UNBRACED_BOX, text)
        return None if unbraced is None else unbraced[1]
    start, _, content = found[-1]
    parts = [content]
    for earlier, end, inner in reversed(found[:-1]):
        gap = text[end:start]
        if end > start or len(gap) > _MAX_GAP or _NO_JOINT.search(gap) or not _JOINER.search(gap):
            break
        if _WORDS_FIRST.search(gap) and not gap.rstrip(" $}").endswith((" and", " or")):
            break
        if inner not in parts:
            parts.insert(0, inner)
        start = earlier
    return ", ".join(parts)


def stated_answer(text: str) -> str | None:
    """What follows "####", "the answer is" or "ANSWER:" last; else the last formula; else None."""
    tail = text[-_TAIL:]
    hashes = _last(_HASHES, tail)
    if hashes is not None:
        return value_in(hashes[1].strip())
    stated = _last(_STATED, tail)
    if stated is None:
        return None
    sentence = tail[stated.end() : stated.end() + _MAX_STATED].lstrip(" \n:*")
    formula = _MATHS.match(sentence)
    end = _SENTENCE_END.search(sentence, formula.end() if formula else 0)
    found = sentence[: end.start() if end else None].strip(' *_\n\t"')
    return value_in(found) or None


def value_in(sentence: str) -> str:
    """`sentence` if it is an answer by itself; else what comes after its verb, its last formula or number."""
    if len(_PLAIN_WORDS.findall(_MATHS.sub(" ", sentence))) <= _FEW_WORDS:
        return sentence
    verb = _last(_VERB, sentence)
    if verb is not None and verb.end() < len(sentence):
        sentence = sentence[verb.end() :].strip(" *_")
        if len(_PLAIN_WORDS.findall(_MATHS.sub(" ", sentence))) <= _FEW_WORDS:
            return sentence
    formula = _last_formula(sentence)
    if formula is not None:
        return formula
    number = _last(_NUMBER, sentence)
    return sentence if number is None else number.group()


def _last(pattern: "re.Pattern[str]", text: str) -> "re.Match[str] | None":
    found = None
    for match in pattern.finditer(text):
        found = match
    return found


def _last_formula(text: str) -> str | None:
    last = _last(_MATHS, text)
    if last is None:
        return None
    return next((each for each in last.groups() if each is not None), "").strip()


def _last_bold(text: str) -> str | None:
    """**42**, when it holds a number."""
    bold = _last(_BOLD, text)
    return bold[1].strip() if bold is not None and _NUMBER.search(bold[1]) else None


def final_answer(response: str) -> str | None:
    """The final answer in `response`, as written; None when there is none, or thinking never closed.

    In order: the last complete box (adjacent boxes joined), what is stated after "####", "the answer is" or
    "ANSWER:", the last formula, and a short reply that is nothing but an answer.
    """
    text = after_thinking(response)
    if text is None:
        return None
    if "\\\\boxed" in text:
        text = repair(text)
    boxed = boxed_answer(text)
    if boxed is not None:
        return boxed.strip() or None
    if "\\boxed" in text:  # a box that never closes: the answer was cut off
        return None
    return (
        stated_answer(text) or _last_formula(text[-_TAIL:]) or _last_bold(text[-_TAIL:]) or _last_line(text)
    )


def bare_answer(text: str) -> str | None:
    """`text` when it is one short line, so that all of it may be the answer."""
    line = text.strip()
    return line if 0 < len(line) <= _BARE_LENGTH and "\n" not in line else None


def _last_line(text: str) -> str | None:
    """The answer in a reply without marks: all of a short line, or a last line that is a number alone."""
    line = bare_answer(text)
    if line is not None:
        return value_in(line)
    line = text.rstrip().rpartition("\n")[2].strip(" *_.")
    return line if len(line) <= _BARE_LENGTH and _NUMBER.fullmatch(line) else None


def expected_answer(gold: str) -> str:
    """The answer in `gold`: most often `gold` itself; its box or "####" when it is a whole solution."""
    if "\\boxed" in gold or "####" in gold:
        return final_answer(gold) or gold
    return gold if len(gold) <= 2 * _BARE_LENGTH else stated_answer(gold) or gold
