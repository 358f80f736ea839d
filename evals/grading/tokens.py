"""Tokens of LaTeX or plain mathematics: one pass, formatting dropped."""

import re
from typing import NamedTuple

from evals.grading.options import ParseError, TooLargeError
from evals.grading.vocabulary import FUNCTIONS, names

MAX_CHARACTERS = 10_000
MAX_TOKENS = 2_000
MAX_DIGITS = 4_000  # int() of the interpreter refuses 4,300 digits by default

_TOKEN = re.compile(
    r"""(?P<space>\s+|~)
    |\\begin\s*\{(?P<begin>[A-Za-z]+\*?)\}|\\end\s*\{(?P<end>[A-Za-z]+\*?)\}
    |\\(?P<cmd>[A-Za-z]+\*?|.)
    |(?P<num>(?<![A-Za-z0-9.])(?:0[xX][0-9A-Fa-f]+(?![A-Za-z0-9]|\.[0-9])
            |0[xXbBoO](?=[A-Za-z]*[0-9])[0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?)
        |[0-9]+\.(?=\s*(?:\\(?:overline|bar|dot)\b|[-+*/^)]))
        |[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+(?![A-Za-z0-9.]))?|\.[0-9]+)
    |(?P<word>[A-Za-z]+)
    |(?P<text>[^\W\d_a-zA-Z][^\W\d_]*)
    |(?P<op><=|>=|!=|==|<>|=>|->|\*\*|\.\.\.+|[-+*/^_=<>()\[\]{},;:.!|%&'"$?@\#`])
    |(?P<other>[^\s\\])""",
    re.VERBOSE | re.DOTALL,
)

_TEXT = frozenset(
    names(
        "text mbox textbf textit textrm textnormal texttt textsf textsc hbox emph mathrm rm "
        "operatorname operatorname* mathsf mathtt textup"
    )
)
_DROPPED = frozenset(
    names(
        "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr bigm displaystyle "
        "textstyle scriptstyle limits nolimits mathbf boldsymbol bm mathit bf it mathcal mathscr "
        "mathfrak pmb mathop mathopen mathclose ! , ; : quad qquad hspace hfill hline nonumber notag "
        "strut thinspace phantom middle Large large normalsize huge small boxed fbox $ unicode "
        "ensuremath mathstrut - /"
    )
) | {" ", "\n", "\t"}
_SPACES = frozenset([",", ";", ":", " ", "quad", "qquad", "\n", "\t", "$"])
_SAME_AS = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "leq": "le", "leqslant": "le",
    "leqq": "le", "geq": "ge", "geqslant": "ge", "geqq": "ge", "neq": "ne", "lt": "<", "gt": ">",
    "ast": "*", "div": "/", "tbinom": "binom", "dbinom": "binom", "times": "*", "cdot": "*",
    "lbrace": "lset", "rbrace": "rset", "{": "lset", "}": "rset", "lbrack": "[", "rbrack": "]",
    "backslash": "setminus", "smallsetminus": "setminus", "varnothing": "emptyset",
    "emptyset": "emptyset", "bigcup": "cup", "bigcap": "cap", "wedge": "land", "vee": "lor",
    "colon": ":", "dots": "...", "ldots": "...", "cdots": "...", "dotsc": "...", "dotsb": "...",
    "vert": "|", "lvert": "|", "rvert": "|", "|": "||", "Vert": "||", "lVert": "||",
    "rVert": "||", "%": "%", "degree": "deg", "circ": "circ", "approxeq": "approx",
    "simeq": "approx", "arccot": "acot", "arctg": "atan", "tg": "tan", "ctg": "cot",
    "rightarrow": "to", "longrightarrow": "to", "Rightarrow": "implies",
    "Longrightarrow": "implies", "sdot": "*", "bullet": "*", "prime": "'", "lparen": "(",
    "rparen": ")", "&": "&", "#": "#", "_": "_", "newline": "\\", "cr": "\\", "choose": "choose",
    "dsqrt": "sqrt", "infin": "infty",
}  # fmt: skip
_OPERATORS = frozenset(names("* / < > % [ ] ( ) : ... | || deg ' &"))
_OP_SPELLINGS = {
    "==": "=", "**": "^", "<>": "ne", "!=": "ne", "<=": "le", ">=": "ge", "=>": "implies", "->": "to",
}  # fmt: skip
_CONNECTIVES = {"and": "and", "or": "or", "land": "and", "lor": "or"}
_NUMERIC_TEXT = re.compile(
    r"[-+]?0(?:[xX][0-9A-Fa-f]+|[bB][01]+|[oO][0-7]+)"
    r"|[-+0-9.,/ ]*[0-9][-+0-9.,/ ]*|\(?[-+]?[0-9]+(?:, ?[-+]?[0-9]+)*\)?"
)


class Token(NamedTuple):
    """kind: num, word, text, cmd, op, begin or end; spaced: whether white space stood before it."""

    kind: str
    text: str
    spaced: bool


def tokenise(text: str) -> list[Token]:
    """Tokens of spelled `text`; TooLargeError past the limits, ParseError where a \\text{ never closes."""
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
        if kind == "space" or (kind == "op" and value in '$`"'):
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
    elif (
        (len(words) == 1 and words.isalpha() and command in ("mathrm", "rm"))
        or command.startswith("operator")
        or words in FUNCTIONS
    ):
        tokens.append(Token("word", words, spaced))
    elif _NUMERIC_TEXT.fullmatch(words) or ("\\" in words and words.count("{") == words.count("}")):
        if len(tokens) > MAX_TOKENS or len(words) > MAX_CHARACTERS or words.count("\\text") > 3:
            raise TooLargeError("text within text")
        inner = tokenise(words)
        tokens.extend([inner[0]._replace(spaced=spaced), *inner[1:]] if inner else [])
    elif words.lower().endswith((" and", " or")):  # goats and
        said, _, joint = words.rpartition(" ")
        tokens += [Token("text", said, spaced), Token("op", joint.lower(), True)]
    elif words:
        tokens.append(Token("text", words, spaced))
