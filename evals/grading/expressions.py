"""Scalar expressions from tokens: sums, products, powers, functions, radicals, units."""

from abc import ABC, abstractmethod
from fractions import Fraction

from evals.grading.options import GradingOptions, ParseError, TooLargeError
from evals.grading.tokens import Token
from evals.grading.tree import SCALARS, Node, constant, negative, node, number, symbol
from evals.grading.units import is_unit
from evals.grading.vocabulary import FUNCTIONS, GREEK, is_separating_word, known_word, names

MAX_NESTING = 40  # brackets within brackets: about ten Python frames each

_SIGNS = frozenset(["+", "-", "pm", "mp"])
_POSTFIX = frozenset(["^", "!", "%", "deg", "_", "'"])
_MAX_POSTFIX = 50
_STARTS = frozenset(
    names(
        "frac sqrt binom infty pi overline sum prod lset langle lfloor lceil vec hat bar tilde "
        "overrightarrow widehat dot underline angle"
    )
)


class ExpressionParser(ABC):
    """Recursive descent over tokens; subclasses say what may stand inside brackets (`bracketed`)."""

    def __init__(self, tokens: list[Token], options: GradingOptions) -> None:
        self.tokens = tokens
        self.count = len(tokens)
        self.options = options
        self.at = 0
        self.nesting = 0
        self.bars = 0

    # Looking at tokens.

    def peek(self, offset: int = 0) -> Token | None:
        index = self.at + offset
        return self.tokens[index] if index < self.count else None

    def sees(self, kind: str, *texts: str, offset: int = 0) -> bool:
        index = self.at + offset
        if index >= self.count:
            return False
        token = self.tokens[index]
        return token[0] == kind and (not texts or token[1] in texts)

    def take(self) -> Token:
        token = self.peek()
        if token is None:
            raise ParseError("the text ends too early")
        self.at += 1
        return token

    def takes(self, kind: str, *texts: str) -> bool:
        """Step over the next token if it is one of these."""
        if not self.sees(kind, *texts):
            return False
        self.at += 1
        return True

    def expect(self, kind: str, text: str) -> None:
        if not self.takes(kind, text):
            raise ParseError(f"no {text} where one is due")

    @abstractmethod
    def bracketed(self) -> Node:
        """What stands at an opening bracket, up to its closing one."""

    def descend(self) -> None:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise TooLargeError(f"more than {MAX_NESTING} brackets within brackets")

    # The grammar.

    def sum(self) -> Node:
        """Terms joined by + - and plus-minus."""
        terms: list[Node] = []
        total: Node | None = None
        while True:
            sign = self.signs()
            if sign in ("+-", "-+"):
                left = _added(terms, total)
                total, terms = node("plusminus", left, self.product(), name=sign), []
            else:
                term = self.product()
                terms.append(negative(term) if sign == "-" else term)
            if not self.at_sign():
                return _added(terms, total)

    def at_sign(self) -> bool:
        return self.at < self.count and self.tokens[self.at].text in _SIGNS

    def signs(self) -> str:
        """The signs that stand here as one: "", "-", "+-" or "-+"."""
        sign = ""
        while (token := self.peek()) is not None and self.at_sign():
            self.at += 1
            if token.text in ("pm", "mp"):
                sign = "+-" if token.text == "pm" else "-+"
            elif token.text == "+" and self.sees("op", "/") and self.sees("op", "-", offset=1):  # +/-
                self.at += 2
                sign = "+-"
            elif token.text == "-":
                sign = {"": "-", "-": "", "+-": "-+", "-+": "+-"}[sign]
        return sign

    def product(self) -> Node:
        """Factors joined by * / or by standing side by side."""
        factors = [self.power()]
        while True:
            if self.takes("op", "*"):
                sign = self.signs()
                factor = self.power()
                factors.append(negative(factor) if sign == "-" else factor)
            elif self.sees("op", "/"):
                self.at += 1
                sign = self.signs()
                divisor = self.power()
                left = multiplied(factors)
                factors = [node("divide", left, negative(divisor) if sign == "-" else divisor)]
            elif self.at_factor():
                factors = self.beside(factors)
            else:
                return multiplied(factors)

    def at_factor(self) -> bool:
        """Whether a factor may start here, with no sign of multiplication before it."""
        token = self.peek()
        if token is None:
            return False
        if token.kind == "op":
            if token.text in ("(", "["):
                return token.text == "(" or not token.spaced or self.nesting > 0
            return token.text in ("...", "{") or (token.text in ("|", "||") and self.bars == 0)
        if token.kind == "word":
            return not is_separating_word(token.text)
        if token.kind == "cmd":
            return token.text in _STARTS or token.text in GREEK or token.text in FUNCTIONS
        if token.kind == "text" and is_separating_word(token.text):  # inches after a number
            before = self.tokens[self.at - 1]
            return token.text.lower() == "in" and (before.kind == "num" or before.text == "}")
        return token.kind in ("num", "text") or (token.kind == "begin" and token.text != "cases")

    def beside(self, factors: list[Node]) -> list[Node]:
        """Factors with the one that follows: a mixed number's fraction, a unit, or one more factor."""
        token = self.peek()
        last = factors[-1]
        value = last.number if last.kind == "number" else None
        assert token is not None
        if token.kind == "text" or (token.kind == "word" and self.is_unit_here(token.text, last)):
            if last.kind not in SCALARS:
                raise ParseError("words after what is no number")
            return [node("unit", multiplied(factors), name=self.unit())]
        if token.kind == "num" and last.kind in ("number", "decimal", "symbol", "call"):
            whole = self.mixed(value)
            if whole is not None:
                return [*factors[:-1], whole]
            if last.kind in ("number", "decimal"):
                raise ParseError("two numbers side by side")
        if (
            self.options.mixed_numbers
            and value is not None
            and value.denominator == 1
            and self.sees("cmd", "frac")
        ):
            fraction = self.power()
            top = fraction.args[0].number if fraction.kind == "divide" else None
            bottom = fraction.args[1].number if fraction.kind == "divide" else None
            if top is not None and bottom is not None and 0 < top < bottom:
                return [*factors[:-1], number(value + top / bottom)]
            return [*factors, fraction]
        return [*factors, self.power()]

    def mixed(self, whole: Fraction | None) -> Node | None:
        """3 1/2 once the 3 is read; None where something else stands here."""
        top, bottom = self.peek(), self.peek(2)
        if (
            not self.options.mixed_numbers
            or whole is None
            or whole.denominator != 1
            or not self.sees("op", "/", offset=1)
        ):
            return None
        if (
            top is None
            or bottom is None
            or bottom.kind != "num"
            or not (top.text.isdigit() and bottom.text.isdigit())
        ):
            return None
        if int(bottom.text) == 0 or int(top.text) >= int(bottom.text):
            return None
        self.at += 3
        return number(whole + Fraction(int(top.text), int(bottom.text)))

    def is_unit_here(self, word: str, last: Node) -> bool:
        """Whether a plain word after `last` is a unit; single letters are variables, save in m/s."""
        if last.kind not in ("number", "decimal", "divide", "root", "constant"):
            return False
        follower = self.peek(1)
        if len(word) == 1:
            over = self.peek(2)
            spaced = self.tokens[self.at].spaced and follower is not None and follower.text == "/"
            return spaced and is_unit(word) and over is not None and is_unit(over.text)
        if follower is not None and follower.kind == "op" and follower.text in ("(", "+", "-", "*"):
            return False
        return is_unit(word) or (len(word) >= 4 and not known_word(word))

    def unit(self) -> str:
        """The unit that stands here as text, with its powers: "cm^2", "miles per hour"."""
        parts: list[str] = []
        while (token := self.peek()) is not None:
            follower = self.peek(1)
            if token.kind in ("text", "word") and not (parts and is_separating_word(token.text)):
                parts.append(token.text)
            elif token.kind == "op" and token.text == "^":
                self.at += 1
                self.takes("op", "{")
                power = self.signs() + self.take().text
                self.takes("op", "}")
                parts.append("^" + power)
                continue
            elif token.text in ("/", "*") and follower is not None and follower.kind in ("text", "word"):
                parts.append(token.text)
            elif token.text == "." and follower is None:
                pass
            else:
                break
            self.at += 1
        return " ".join(parts).replace(" ^", "^")

    def power(self) -> Node:
        """An atom with its postfix signs and exponent."""
        base = self.atom()
        for _ in range(_MAX_POSTFIX):
            if self.at >= self.count or self.tokens[self.at].kind != "op":
                return base
            mark = self.tokens[self.at].text
            if mark not in _POSTFIX or (mark == "!" and self.sees("op", "=", offset=1)):
                return base
            if (mark == "_" and base.kind not in ("number", "symbol")) or (
                mark == "'" and base.kind != "symbol"
            ):
                return base
            self.at += 1
            if mark == "^":
                base = base if self.sees("op", "'") else node("power", base, self.script())
            elif mark == "!":
                base = node("call", base, name="doublefactorial" if self.takes("op", "!") else "factorial")
            elif mark == "%":
                base = node("percent", base)
            elif mark == "deg":
                base = self.degrees(base)
            elif mark == "_":
                base = self.subscripted(base)
            else:
                base = symbol(base.name + "'")
        raise TooLargeError(f"more than {_MAX_POSTFIX} postfix signs")

    def degrees(self, base: Node) -> Node:
        """Degrees with minutes and seconds: 12 deg 30' 15''."""
        total = base
        scale = 60
        while self.sees("num") and self.sees("op", "'", offset=1):
            minutes = self.atom()
            self.at += 1
            if self.takes("op", "'"):
                scale = 3600
            total = node("add", total, node("divide", minutes, number(scale)))
            scale = 3600
        return node("degree", total)

    def subscripted(self, base: Node) -> Node:
        """x_1 as a symbol of its own; 17_8 as digits of a base."""
        tokens = self.raw_script()
        name = "".join(token.text for token in tokens)
        if base.kind == "number" and base.number is not None:
            if not base.name:
                raise ParseError("a subscript of a number whose digits are in a base already")
            if not name.isdigit() or not 2 <= int(name[:4]) <= 36:
                if name.isalpha():
                    return node("based", name=base.name, number=Fraction(0))
                raise ParseError("a number's subscript that is no base")
            return node("based", name=base.name, number=Fraction(int(name)))
        return symbol(f"{base.name}_{name}")

    def raw_script(self) -> list[Token]:
        """Tokens of a sub- or superscript: one token, or a braced or bracketed group."""
        if not self.sees("op", "{", "("):
            return [self.take()]
        close = {"{": "}", "(": ")"}[self.take().text]
        start, depth = self.at, 0
        while not (depth == 0 and self.sees("op", close)):
            depth += {"{": 1, "}": -1}.get(self.take().text, 0)
        self.at += 1
        return self.tokens[start : self.at - 1]

    def script(self) -> Node:
        """An exponent: a group, or one signed atom with an exponent of its own."""
        if self.sees("op", "{"):
            return self.group()
        sign = self.signs()
        token = self.peek()
        if token is not None and token.kind == "word" and len(token.text) > 1 and not known_word(token.text):
            self.tokens[self.at] = token._replace(text=token.text[1:], spaced=False)
            item = letter(token.text[0])
        else:
            item = self.atom()
        if self.takes("op", "^"):
            self.descend()
            item = node("power", item, self.script())
            self.nesting -= 1
        return negative(item) if sign == "-" else item

    def group(self) -> Node:
        """{ sum }."""
        self.expect("op", "{")
        self.descend()
        bars, self.bars = self.bars, 0
        inner = self.sum()
        self.expect("op", "}")
        self.nesting -= 1
        self.bars = bars
        return inner

    @abstractmethod
    def atom(self) -> Node:
        """A value without operators around it."""


def letter(name: str) -> Node:
    """A single letter: e and i are constants."""
    return constant(name) if name in ("e", "i") else symbol(name)


def _added(terms: list[Node], total: Node | None) -> Node:
    if total is not None:
        terms = [total, *terms]
    if not terms:
        return number(0)
    return terms[0] if len(terms) == 1 else node("add", *terms)


def multiplied(factors: list[Node]) -> Node:
    """The product of one or more factors."""
    return factors[0] if len(factors) == 1 else node("multiply", *factors)
