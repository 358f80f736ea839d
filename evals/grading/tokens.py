"""Tokens of LaTeX or plain mathematics: one pass, formatting dropped, Unicode signs spelled one way."""

import re
from typing import NamedTuple

from evals.grading.options import ParseError, TooLargeError

MAX_CHARACTERS = 10_000
MAX_TOKENS = 2_000
MAX_DIGITS = 4_000  # int() of the interpreter refuses 4,300 digits by default

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau "
    "upsilon phi chi psi omega"
).split()
GREEK = frozenset([*_GREEK, *(name.capitalize() for name in _GREEK), "varphi", "varepsilon", "vartheta", "ell"])
_GREEK_LETTERS = dict(zip("αβγδεζηθικλμνξοπρστυφχψω", _GREEK, strict=True)) | dict(
    zip("ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ", (name.capitalize() for name in _GREEK), strict=True)
)
_SIGNS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ",
    "∙": r"\cdot ", "•": r"\cdot ", "∗": "*", "÷": "/", "∕": "/", "⁄": "/", "√": r"\sqrt ", "∛": r"\sqrt[3] ",
    "∜": r"\sqrt[4] ", "∞": r"\infty ", "≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ",
    "≈": r"\approx ", "≡": r"\equiv ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∉": r"\notin ",
    "∖": r"\setminus ", "°": r"^\circ ", "º": r"^\circ ", "˚": r"^\circ ", "±": r"\pm ", "∓": r"\mp ",
    "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}",
    "ℂ": r"\mathbb{C}", "⟨": r"\langle ", "⟩": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ",
    "⌈": r"\lceil ", "⌉": r"\rceil ", "…": r"\ldots ", "⋯": r"\ldots ", "′": "'", "’": "'", "‘": "'",
    "“": '"', "”": '"', "∧": r"\land ", "∨": r"\lor ", "→": r"\to ", "⇒": r"\implies ", "⟹": r"\implies ",
    "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "∣": "|", "≅": r"\cong ", "∼": r"\sim ", "∠": r"\angle ",
    "△": r"\triangle ", "‖": r"\|", "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}",
    "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅕": r"\frac{1}{5}", "⅛": r"\frac{1}{8}", "€": r"\$",
    "£": r"\$", "¥": r"\$", "、": ",", "。": ".", "【": "[", "】": "]", "\u200b": "", "\ufeff": "", "\u2062": "",
}  # fmt: skip
_UNICODE = str.maketrans(
    _SIGNS
    | {letter: f"\\{name} " for letter, name in _GREEK_LETTERS.items()}
    | {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width forms
    | dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " ")
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿˣ", "0123456789+-()nx")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋ₙ", "0123456789+-n")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿˣ]+")
_LOWERED_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋ₙ]+")
_HALF = re.compile("(?<=[0-9])(?=[½⅓⅔¼¾⅕⅛])")

_DEGREE = re.compile(r"\^\s*+(?:\\circ(?![A-Za-z])|\{\s*+\\circ\s*+\}|\\degree(?![A-Za-z])|o(?![A-Za-z0-9]))")
_SEPARATOR = re.compile(r"(?<=[0-9])(?:\s?\{\s?,\s?\}|\\,|\\!,|,\\!\s?|\{\\,\}|\{,\\!\}|\\ |\\;|~)(?=[0-9]{3}(?![0-9]))")
_SPACED_THOUSANDS = re.compile(r"(?<![0-9.,^_}])[0-9]{1,3}(?: [0-9]{3})+(?![0-9])(?! ?[/\\])")
_ORDINAL = re.compile(
    r"(?<=[0-9])\s*+(?:\^\s*+)?\{?\s*+(?:\\(?:text|mathrm|textsuperscript|rm|mbox)\s*+\{?)?\s*+(?:st|nd|rd|th)\b(?![A-Za-z])\s*+\}{0,2}"
)
# Text that went through an escape too many (\\frac) or too few (a form feed and "rac").
_DOUBLED = re.compile(
    r"(?<!\\)\\\\(?=(?:[dtc]?frac|sqrt|left|right|begin|end|pi|text|boxed|cdot|times|infty|pm|cup|cap|in|leq?|geq?|neq?"
    r"|circ|theta|alpha|beta|sin|cos|tan|ln|log|quad|mathrm|mathbb|bigg?|binom|overline|angle)(?![a-z]))"
)
_LOST_ESCAPE = re.compile(
    r"\x0c(?=rac|orall)|\x08(?=oxed|egin|eta|inom|ar\b)|\t(?=ext|imes|an\b|heta|frac|au\b|o\b)|\r(?=ight|ho\b)|\x0b(?=ec|ert)"
    r"|\n(?=eq\b|e\b|u\b)"
)
_LOST_LETTERS = {"\x0c": "\\f", "\x08": "\\b", "\t": "\\t", "\r": "\\r", "\x0b": "\\v", "\n": "\\n"}
_GLUED_SPACE = re.compile(r"\\(q?quad)(?=[A-Za-z])")
_NULL_DELIMITER = re.compile(r"\\(?:left|right)\s*+\.")

_TOKEN = re.compile(
    r"""(?P<space>\s+|~)
    |\\begin\s*\{(?P<begin>[A-Za-z]+\*?)\}|\\end\s*\{(?P<end>[A-Za-z]+\*?)\}
    |\\(?P<cmd>[A-Za-z]+\*?|.)
    |(?P<num>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+(?![A-Za-z0-9.]))?|\.[0-9]+|[0-9]+\.(?![0-9]))
    |(?P<word>[A-Za-z]+)
    |(?P<op><=|>=|!=|==|<>|=>|->|\*\*|\.\.\.+|[-+*/^_=<>()\[\]{},;:.!|%&'"$?@\#`])
    |(?P<other>[^\s\\])""",
    re.VERBOSE | re.DOTALL,
)

_TEXT = frozenset(
    ["text", "mbox", "textbf", "textit", "textrm", "textnormal", "texttt", "textsf", "textsc", "hbox", "emph"]
    + ["mathrm", "rm", "operatorname", "operatorname*", "mathsf", "mathtt", "textup"]
)
_DROPPED = frozenset(
    ["left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr", "Biggl"]
    + ["Biggr", "bigm", "displaystyle", "textstyle", "scriptstyle", "limits", "nolimits", "mathbf", "boldsymbol"]
    + ["bm", "mathit", "bf", "it", "mathcal", "mathscr", "mathfrak", "pmb", "mathop", "mathopen", "mathclose"]
    + ["!", ",", ";", ":", " ", "quad", "qquad", "hspace", "hfill", "hline", "nonumber", "notag", "strut", "left."]
    + ["thinspace", "phantom", "middle", "Large", "large", "normalsize", "huge", "small", "\n", "\t", "boxed", "fbox"]
    + ["$", "unicode", "ensuremath", "mathstrut", "-", "/"]
)
_SPACES = frozenset([",", ";", ":", " ", "quad", "qquad", "\n", "\t", "$"])
_SAME_AS = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "leq": "le", "leqslant": "le", "leqq": "le", "geq": "ge",
    "geqslant": "ge", "geqq": "ge", "neq": "ne", "lt": "<", "gt": ">", "ast": "*", "div": "/", "tbinom": "binom",
    "dbinom": "binom", "times": "*", "cdot": "*", "lbrace": "lset", "rbrace": "rset", "{": "lset", "}": "rset",
    "lbrack": "[", "rbrack": "]", "backslash": "setminus", "smallsetminus": "setminus", "varnothing": "emptyset",
    "emptyset": "emptyset", "bigcup": "cup", "bigcap": "cap", "wedge": "land", "vee": "lor", "colon": ":",
    "dots": "...", "ldots": "...", "cdots": "...", "dotsc": "...", "dotsb": "...", "vert": "|", "lvert": "|",
    "rvert": "|", "|": "||", "Vert": "||", "lVert": "||", "rVert": "||", "%": "%", "degree": "deg", "circ": "circ",
    "approxeq": "approx", "simeq": "approx", "arccot": "acot", "arctg": "atan", "tg": "tan", "ctg": "cot",
    "rightarrow": "to", "longrightarrow": "to", "Rightarrow": "implies", "Longrightarrow": "implies",
    "sdot": "*", "bullet": "*", "prime": "'", "lparen": "(", "rparen": ")", "&": "&", "#": "#", "_": "_",
    "newline": "\\", "cr": "\\", "choose": "choose", "dsqrt": "sqrt", "infin": "infty",
}  # fmt: skip
_OPERATORS = frozenset("* / < > % [ ] ( ) : ... | || deg ' &".split())
_OP_SPELLINGS = {"==": "=", "**": "^", "<>": "ne", "!=": "ne", "<=": "le", ">=": "ge", "=>": "implies", "->": "to"}
_CONNECTIVES = {"and": "and", "or": "or", "land": "and", "lor": "or"}
_FUNCTION_NAMES = frozenset("sin cos tan cot sec csc log ln exp arcsin arccos arctan gcd lcm max min".split())
_NUMERIC_TEXT = re.compile(r"[-+0-9.,/ ]*[0-9][-+0-9.,/ ]*|\(?[-+]?[0-9]+(?:, ?[-+]?[0-9]+)*\)?")


class Token(NamedTuple):
    """kind: num, word, text, cmd, op, begin or end; spaced: whether white space stood before it."""

    kind: str
    text: str
    spaced: bool


def repair(text: str) -> str:
    """`text` with LaTeX commands as they were before an escape too many or too few."""
    if _DOUBLED.search(text):
        text = _DOUBLED.sub(r"\\", text).replace("\\\\\\\\", "\\\\")
    return _LOST_ESCAPE.sub(lambda lost: _LOST_LETTERS[lost.group()], text)


def spell(text: str) -> str:
    """`text` with Unicode signs, raised and lowered digits, degrees and thousands written as LaTeX does."""
    if not text.isascii():
        text = _HALF.sub(" ", text)
        text = _RAISED_RUN.sub(lambda run: "^{" + run.group().translate(_RAISED) + "}", text)
        text = _LOWERED_RUN.sub(lambda run: "_{" + run.group().translate(_LOWERED) + "}", text)
        text = text.translate(_UNICODE)
    if "\\" in text or "\x0c" in text:
        text = _GLUED_SPACE.sub(r"\\\1 ", repair(text))
    text = _DEGREE.sub(r"\\degree ", text)
    text = _ORDINAL.sub(" ", text)
    text = _NULL_DELIMITER.sub(" ", text)
    text = _SEPARATOR.sub("", text)
    return _SPACED_THOUSANDS.sub(lambda run: run.group().replace(" ", ""), text)


def tokenise(text: str) -> list[Token]:
    """Tokens of spelled `text`; TooLargeError past the limits, ParseError on braces of a text that never close."""
    if len(text) > MAX_CHARACTERS:
        raise TooLargeError(f"an answer of {len(text)} characters, more than {MAX_CHARACTERS}")
    tokens: list[Token] = []
    position, spaced = 0, False
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:  # a lone backslash at the end
            break
        position = match.end()
        kind, value = match.lastgroup or "", match.group(match.lastgroup or 0)
        if kind == "space" or (kind == "op" and value in "$`\""):
            spaced = True
            continue
        if kind == "cmd":
            name = _SAME_AS.get(value, value)
            if name in _TEXT:
                content, position = _braced(text, position)
                _add_text(tokens, content, spaced, name)
            elif name in _DROPPED:
                spaced = spaced or name in _SPACES
                continue
            elif name in ("mathbb", "Bbb"):
                content, position = _braced(text, position)
                tokens.append(Token("cmd", "set " + content.strip(), spaced))
            elif name in _CONNECTIVES:
                tokens.append(Token("op", _CONNECTIVES[name], spaced))
            else:
                tokens.append(Token("op" if name in _OPERATORS else "cmd", name, spaced))
        elif kind == "op":
            value = _OP_SPELLINGS.get(value, value)
            value = "..." if value.startswith("...") else value
            tokens.append(Token("cmd" if value.isalpha() else "op", value, spaced))
        elif kind == "word" and value.lower() in _CONNECTIVES and value not in ("land", "lor"):
            tokens.append(Token("op", value.lower(), spaced))
        else:
            if kind == "num" and len(value) > MAX_DIGITS:
                raise TooLargeError(f"a number of {len(value)} digits, more than {MAX_DIGITS}")
            tokens.append(Token(kind, value, spaced))
        spaced = False
        if len(tokens) > MAX_TOKENS:
            raise TooLargeError(f"more than {MAX_TOKENS} tokens")
    return tokens


def _braced(text: str, position: int) -> tuple[str, int]:
    """Content and end of the group (or single character) that follows; ParseError when it never closes."""
    while position < len(text) and text[position].isspace():
        position += 1
    if position == len(text):
        return "", position
    if text[position] != "{":
        end = position + 1
        while text[position].isalpha() and end < len(text) and text[end].isalpha():  # \rm cm
            end += 1
        return text[position:end], end
    depth = 0
    for end in range(position, len(text)):
        if text[end] == "{":
            depth += 1
        elif text[end] == "}":
            depth -= 1
            if depth == 0:
                return text[position + 1 : end], end + 1
    raise ParseError("a brace that never closes")


def _add_text(tokens: list[Token], content: str, spaced: bool, command: str) -> None:
    words = content.replace("$", " ").replace("~", " ").strip()
    if words.lower() in ("and", "or"):
        tokens.append(Token("op", words.lower(), spaced))
    elif words in (",", ";"):
        tokens.append(Token("op", words, spaced))
    elif (len(words) == 1 and words.isalpha() and command in ("mathrm", "rm")) or command.startswith("operator") or words in _FUNCTION_NAMES:
        tokens.append(Token("word", words, spaced))
    elif _NUMERIC_TEXT.fullmatch(words) or ("\\" in words and words.count("{") == words.count("}")):
        if len(tokens) > MAX_TOKENS or len(words) > MAX_CHARACTERS or words.count("\\text") > 3:
            raise TooLargeError("text within text")
        inner = tokenise(words)
        tokens.extend([inner[0]._replace(spaced=spaced), *inner[1:]] if inner else [])
    elif words:
        tokens.append(Token("text", words, spaced))
