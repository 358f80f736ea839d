"""Whole answers from text: lists, sets, intervals, matrices, equations, inequalities, congruences, words."""

import re
from functools import lru_cache

from evals.grading.atoms import AtomParser
from evals.grading.options import GradingOptions, ParseError
from evals.grading.tokens import Token, spell, tokenise
from evals.grading.tree import Node, node, number, symbol, symbols

_RELATIONS = {
    "=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "approx": "~", "equiv": "==", "cong": "==",
    "sim": "~", "in": "in", "notin": "notin", "subset": "subset", "subseteq": "subset",
}  # fmt: skip
_SET_OPERATIONS = {"cup": "union", "cap": "intersection", "setminus": "difference"}
_CONDITIONS = frozenset(["if", "for", "where", "when", "with"])
_LEADS = frozenset("only about approximately exactly around answer therefore thus so hence".split())
_TURNING = ("no", "all", "any", "odd", "even", "most", "least", "less", "more", "undefined", "never")  # turn the meaning
_MATRICES = frozenset(["matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "smallmatrix", "array"])
_ROWS = frozenset(["cases", "aligned", "align", "align*", "gathered", "gather", "gather*", "split", "equation*"])
_WRAPPING = re.compile(r"\A(?:\\\[|\\\(|\$\$?)(.*?)(?:\\\]|\\\)|\$\$?)\Z", re.DOTALL)
_LIST_OF_THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")
_DECIMAL_COMMA = re.compile(r"(?<![0-9.,])([0-9]+),([0-9]+)(?![0-9,])")


class AnswerParser(AtomParser):
    """Adds collections and statements to expressions."""

    def whole(self) -> Node:
        """The whole text as one answer."""
        while self.leads():
            self.at += 1
        found = self.items()
        while self.sees("op", ".", ",", ";", ":", "'"):
            self.at += 1
        if self.peek() is not None:
            raise ParseError(f"{self.take().text!r} where the answer should end")
        return found

    def leads(self) -> bool:
        """Whether words before an answer stand here, as in "only" 5 or "The area is" 5."""
        token = self.peek()
        if token is None or self.peek(1) is None:
            return False
        text = token.text.lower()
        if token.kind == "text":
            return not any(word in text for word in _TURNING)
        return token.kind == "word" and text in _LEADS

    def items(self, *closers: str) -> Node:
        """Clauses joined by commas, semicolons, "and" or "or", up to a closer, which is left."""
        found: list[Node] = []
        joint = ","
        while True:
            while self.sees("op", ",", ";", "and", "or"):
                word = self.take().text
                joint = word if word in ("and", "or") else joint
            if self.closes(closers) or (self.sees("op", ".") and self.peek(1) is None):
                break
            if self.at_condition():
                self.skip_condition(closers)
                break
            found.append(self.clause())
            if not self.sees("op", ",", ";", "and", "or") and not self.at_condition():
                break
        if not found:
            raise ParseError("nothing where an answer is due")
        return found[0] if len(found) == 1 else node("list", *found, name=joint)

    def closes(self, closers: tuple[str, ...]) -> bool:
        token = self.peek()
        return token is None or (token.kind in ("op", "cmd") and token.text in closers)

    def at_condition(self) -> bool:
        """Whether "for all n", "where k is an integer" and the like begin here."""
        token = self.peek()
        if token is None or token.kind not in ("text", "word"):
            return False
        words = token.text.strip(" ,(").split()
        return bool(words) and words[0].lower() in _CONDITIONS

    def skip_condition(self, closers: tuple[str, ...]) -> None:
        while not self.closes(closers):
            self.at += 1

    def clause(self) -> Node:
        """An expression, or a chain of relations between expressions."""
        self.skip_label()
        sides = [self.function_head() or self.operand()]
        operators: list[str] = []
        while (token := self.peek()) is not None and token.text in _RELATIONS and token.kind in ("op", "cmd"):
            self.at += 1
            operators.append(_RELATIONS[token.text])
            sides.append(self.operand())
        if self.sees("word", "in") and self.peek(1) is not None and sides[-1].kind == "symbol":
            self.at += 1
            operators.append("in")
            sides.append(self.operand())
        modulus = self.modulus()
        if modulus is not None:
            return node("congruence", sides[-1], modulus)
        if operators and operators[-1] == "in":
            return node("member", sides[-2], sides[-1])
        while operators and operators[-1] in ("~", "==") and (len(sides) > 2 or not symbols(sides[0])):
            operators.pop()
            sides.pop()
        if not operators:
            return sides[0]
        return node("relation", *sides, name=" ".join("=" if each in ("~", "==") else each for each in operators))

    def skip_label(self) -> None:
        """Step over "Paolo:" or "Case 1:" before a value."""
        for length in (1, 2, 3):
            if self.sees("op", ":", offset=length):
                words = self.tokens[self.at : self.at + length]
                if words[0].kind in ("text", "word") and len(words[0].text) > 1 and self.peek(length + 1) is not None:
                    self.at += length + 1
                return

    def function_head(self) -> Node | None:
        """x(t) before an equals sign is a function's value, whatever the letter."""
        shape = [(token.kind, token.text) for token in self.tokens[self.at : self.at + 5]]
        if len(shape) < 5 or shape[1] != ("op", "(") or shape[3:] != [("op", ")"), ("op", "=")]:
            return None
        if shape[0][0] != "word" or len(shape[0][1]) > 1 or shape[2][0] != "word" or len(shape[2][1]) > 1:
            return None
        self.at += 4
        return node("call", symbol(shape[2][1]), name="function " + shape[0][1])

    def modulus(self) -> Node | None:
        if self.sees("cmd", "pmod", "bmod", "mod") or self.sees("word", "mod"):
            self.at += 1
            return self.sum()
        if self.sees("op", "(") and (self.sees("word", "mod", offset=1) or self.sees("cmd", "mod", "bmod", offset=1)):
            self.at += 2
            value = self.sum()
            self.expect("op", ")")
            return value
        return None

    def operand(self) -> Node:
        """An expression, set operations between sets, or a ratio a : b."""
        left = self.sum()
        while True:
            token = self.peek()
            if token is not None and token.kind == "cmd" and token.text in _SET_OPERATIONS:
                self.at += 1
                left = node(_SET_OPERATIONS[token.text], left, self.sum())
            elif self.sees("word", "U") or (self.sees("cmd", "\\") and left.kind in ("symbol", "tuple")):
                operation = "union" if self.take().text == "U" else "difference"
                left = node(operation, left, self.sum())
            elif self.sees("op", ":") and self.peek(1) is not None and left.kind not in ("tuple", "set"):
                self.at += 1
                right = self.sum()
                left = node("ratio", *(left.args if left.kind == "ratio" else (left,)), right)
            else:
                return left

    def at_factor(self) -> bool:
        if self.sees("word", "U", "u") and self.at > 0 and self.tokens[self.at - 1].text in (")", "]", "rset"):
            self.tokens[self.at] = self.tokens[self.at]._replace(kind="word", text="U")
            return False
        if self.sees("op", "(") and (self.sees("word", "mod", offset=1) or self.sees("cmd", "mod", "bmod", offset=1)):
            return False
        if self.at_condition():
            return False
        return super().at_factor()

    def bracketed(self) -> Node:
        """( ), [ ], { }, < >: grouping, a tuple, an interval or a set."""
        opener = self.take()
        self.descend()
        bars, self.bars = self.bars, 0
        if opener.text == "lset":
            found = self.set_items("rset")
        elif opener.text == "langle":
            inner = self.items("rangle")
            self.expect("cmd", "rangle")
            found = node("tuple", *_parts(inner), name="<>")
        else:
            inner = self.items(")", "]")
            closer = self.take().text
            if closer not in (")", "]"):
                raise ParseError("a bracket that never closes")
            parts = _parts(inner)
            found = inner if len(parts) == 1 else node("tuple", *parts, name=opener.text + closer)
        self.bars = bars
        self.nesting -= 1
        return found

    def set_items(self, closer: str) -> Node:
        """What stands in a set's braces; { x | condition } is its condition."""
        if self.sees("cmd" if closer == "rset" else "op", closer):
            self.at += 1
            return symbol("emptyset")
        self.bars += 1  # a bar is a separator here
        inner = self.items(closer, "mid", "|", ":")
        self.bars -= 1
        token = self.take()
        if token.text == closer:
            return node("set", *_parts(inner))
        if token.text not in ("mid", "|", ":"):
            raise ParseError("a set that never closes")
        condition = self.items(closer)
        self.take()
        return condition if inner.kind in ("symbol", "member") else node("builder", inner, condition)

    def group(self) -> Node:
        """{ ... }: TeX's grouping, a set in plain text, or {n \\choose k}."""
        self.expect("op", "{")
        self.descend()
        bars, self.bars = self.bars, 0
        start = self.at
        inner = self.items("}", "choose")
        if self.takes("cmd", "choose"):
            inner = node("call", inner, self.sum(), name="binom")
        elif self.sees("op", "|", ":"):
            self.at = start
            inner = self.set_items("}")
            self.at -= 1
        elif inner.kind == "list":
            inner = node("set", *inner.args, name="plain")
        self.expect("op", "}")
        self.bars = bars
        self.nesting -= 1
        return inner

    def environment(self) -> Node:
        """A matrix, or rows of statements."""
        name = self.take().text
        if name not in _MATRICES and name not in _ROWS:
            raise ParseError(f"an environment {name}")
        if name == "array" and self.sees("op", "{"):
            self.raw_script()
        self.descend()
        rows: list[list[Node]] = [[]]
        while not self.sees("end"):
            if self.takes("op", "&"):
                if name in _ROWS and name != "cases":
                    self.continue_row(rows[-1])
            elif self.takes("cmd", "\\"):
                rows.append([])
            elif name == "cases" and (self.sees("op", ",", ".") or self.at_condition()):
                if not self.takes("op", ",", "."):
                    rows[-1].append(self.condition())
            elif name in _ROWS:
                rows[-1].append(self.clause())
                self.takes("op", ",", ".")
            else:
                rows[-1].append(self.sum())
        self.at += 1
        self.nesting -= 1
        kept = [node("row", *row) for row in rows if row]
        if not kept:
            raise ParseError("an empty environment")
        if name in _ROWS:
            flat = [row.args[0] for row in kept]
            return node("list", *flat, name="and") if name != "cases" or _plain(kept) else node("cases", *kept)
        matrix = node("matrix", *kept)
        return node("call", matrix, name="det") if name in ("vmatrix", "Vmatrix") else matrix

    def condition(self) -> Node:
        """if x > 0."""
        token = self.take()
        words = token.text.split(maxsplit=1)
        if len(words) > 1:
            return node("text", name=words[1].lower())
        return self.items("&")

    def continue_row(self, row: list[Node]) -> None:
        """a &= b: joins what stands on both sides of the alignment mark."""
        if row and self.peek() is not None and self.take().text == "=":
            row[-1] = node("relation", row[-1], self.operand(), name="=")


def _parts(inner: Node) -> tuple[Node, ...]:
    return inner.args if inner.kind == "list" and inner.name == "," else (inner,)


def _plain(rows: list[Node]) -> bool:
    return all(len(row.args) == 1 for row in rows)


def _unnested(tokens: list[Token]) -> list[Token]:
    """Tokens without doubled brackets: ((x)) is (x), however deep."""
    closes: dict[int, int] = {}
    stack: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind == "op" and token.text in ("(", "{"):
            stack.append(index)
        elif token.kind == "op" and token.text in (")", "}"):
            if not stack or tokens[stack[-1]].text != {")": "(", "}": "{"}[token.text]:
                return tokens
            closes[stack.pop()] = index
    dropped = set()
    for start, end in closes.items():
        if closes.get(start + 1) == end - 1 and tokens[start].text == tokens[start + 1].text:
            dropped |= {start, end}
    return [token for index, token in enumerate(tokens) if index not in dropped] if dropped else tokens


def readings(text: str, options: GradingOptions) -> tuple[Node, ...]:
    """Ways to read `text`, the likeliest first; words (a `text` node) where it is not mathematics.

    There is more than one where a comma between digits may separate thousands, items or decimals.
    TooLargeError past the size limits.
    """
    return _readings(text, options)


@lru_cache(maxsize=4096)
def _readings(text: str, options: GradingOptions) -> tuple[Node, ...]:
    text = strip(spell(text))
    spellings = [text]
    if "," in text and any(mark.isdigit() for mark in text):
        inside = text.lstrip("-").startswith(("(", "[", "\\{", "{", "\\left"))
        grouped = _LIST_OF_THOUSANDS.sub(lambda run: run.group().replace(",", ""), text)
        spellings = [grouped] if grouped == text else [text, grouped] if inside and ", " not in text else [grouped, text]
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
        tokens = _unnested(tokenise(text))
        if not tokens:
            return node("text", name="")
        if tokens[0].kind == "text" and len(tokens) == 1:
            return words(tokens[0].text)
        return AnswerParser(tokens, options).whole()
    except ParseError:
        return words(text)


_NOT_WORDS = re.compile(r"[\\${}]|\s+|[.,;:!?\"'`*()]")
_COMMAND = re.compile(r"\\(?:text|mbox|textbf|textit|mathrm|textrm|mathbf|left|right|quad|qquad|operatorname)\b|\\[ ,;:!]")
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
    kept = [word for word in _NOT_WORDS.sub(" ", _COMMAND.sub(" ", text)).lower().split() if word not in _ARTICLES]
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
