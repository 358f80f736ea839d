"""Atoms of expressions: numbers, letters, fractions, radicals, functions, absolute values, sums."""

from abc import abstractmethod
from fractions import Fraction

from evals.grading.expressions import ExpressionParser, letter, multiplied
from evals.grading.options import ParseError, TooLargeError
from evals.grading.tokens import Token
from evals.grading.tree import Node, constant, negative, node, number, symbol, symbols, transform
from evals.grading.vocabulary import (
    CONSTANTS,
    FUNCTIONS,
    GREEK,
    SHORT_WORDS,
    TRIGONOMETRIC,
    known_word,
    names,
)

_IGNORED = frozenset(["angle", "measuredangle", "therefore", "because", "triangle"])
_ACCENTS = frozenset(names("vec hat bar tilde overrightarrow widehat dot ddot underline mathring overline"))
_STRUCTURAL = frozenset(
    names(
        "rangle rset rfloor rceil le ge ne approx equiv in notin cup cap mid to implies pmod bmod mod "
        "choose setminus pm mp int lim sim cong subset iff subseteq partial over perp parallel forall "
        "exists"
    )
)
_FENCES = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil")}
_PREFIXES = sorted((name for name in FUNCTIONS if len(name) > 1), key=len, reverse=True)
_MAX_PRODUCT_OF_LETTERS = 3  # a longer run of letters is a word
_MAX_EXPONENT = 10_000  # of a literal such as 1e400


class AtomParser(ExpressionParser):
    """Atoms; brackets and environments are left to a subclass."""

    def atom(self) -> Node:
        token = self.take()
        match token.kind:
            case "num":
                return self.number(token.text)
            case "word":
                return self.word(token)
            case "cmd":
                return self.command(token)
            case "begin":
                self.at -= 1
                return self.environment()
        if token.kind == "op":
            if token.text in ("(", "["):
                self.at -= 1
                return self.bracketed()
            if token.text == "{":
                self.at -= 1
                return self.group()
            if token.text in ("|", "||") and self.bars == 0:
                return self.absolute(token.text)
            if token.text == "...":
                return symbol("...")
        raise ParseError(f"{token.text!r} where a value is due")

    @abstractmethod
    def environment(self) -> Node:
        """\\begin{...} ... \\end{...}."""

    def number(self, text: str) -> Node:
        """A literal; 0.1\\overline{6} and 0.3... are decimals too."""
        if self.sees("cmd", "overline", "bar", "dot") and "." in text:
            self.at += 1
            period = "".join(token.text for token in self.raw_script())
            if not period.isdecimal():
                raise ParseError("a period that is no digits")
            return number(_repeating(text, period))
        if self.sees("op", "...") and "." in text.rstrip("."):
            self.at += 1
            return node("decimal", name=text + "...", number=Fraction(text))
        return self.lettered_digits(text) or literal(text)

    def lettered_digits(self, text: str) -> Node | None:
        """152A_11, where every letter is a digit of the base; None for 3x_1."""
        letters, base = self.peek(), self.peek(2)
        if letters is None or base is None or letters.spaced or not self.sees("op", "_", offset=1):
            return None
        base = self.peek(3) if base.text == "{" else base
        if letters.kind != "word" or not letters.text.isupper() or base is None or not base.text.isdecimal():
            return None
        value = int(base.text[:4])
        if value > 36 or any(int(letter, 36) >= value for letter in letters.text):
            return None
        self.at += 2
        self.raw_script()
        return node("based", name=text + letters.text, number=Fraction(value))

    def word(self, token: Token) -> Node:
        """A letter, a function's or constant's name, or a product of up to three letters."""
        text = token.text
        if len(text) == 1:
            return self.applied(letter(text)) if self.defines(text) else letter(text)
        if text in ("sqrt", "cbrt"):
            return self.radical(3 if text == "cbrt" else 2)
        if text in CONSTANTS:
            return constant(CONSTANTS[text])
        if text in FUNCTIONS or text.lower() in FUNCTIONS:
            return self.function(FUNCTIONS.get(text) or FUNCTIONS[text.lower()])
        if text in GREEK:
            return symbol(text)
        if text in ("frac", "dfrac", "tfrac"):
            return self.fraction()
        for prefix in ("sqrt", *_PREFIXES):
            rest = text.removeprefix(prefix)
            if rest != text and len(rest) <= 2:
                self.at -= 1
                self.tokens[self.at] = Token("word", rest, False)
                return self.radical(2) if prefix == "sqrt" else self.function(FUNCTIONS[prefix])
        for split in (1, 2):  # xsin, xyln, 2pir
            rest = text[split:]
            if known_word(rest):
                self.at -= 1
                self.tokens[self.at] = Token("word", rest, False)
                return multiplied([letter(each) for each in text[:split]])
        if text.startswith("pi") and len(text) <= 4:
            return multiplied([constant("pi"), *(letter(each) for each in text[2:])])
        if 0 < len(text) <= _MAX_PRODUCT_OF_LETTERS and text.lower() not in SHORT_WORDS:
            # The last letter is left for what binds tighter than a product: an exponent or a subscript.
            self.at -= 1
            self.tokens[self.at] = Token("word", text[1:], False)
            return letter(text[0])
        raise ParseError(f"{text!r} is a word")

    def defines(self, name: str) -> bool:
        """Whether the letter is a function's name with its arguments, as f(x) or P(2)."""
        return name in "fghFGHPQ" and self.sees("op", "(") and not self.sees("op", ")", offset=1)

    def applied(self, name: Node) -> Node:
        argument = self.bracketed()
        parts = argument.args if argument.kind == "tuple" else (argument,)
        return node("call", *parts, name="function " + name.name)

    def command(self, token: Token) -> Node:
        name = token.text
        if name == "frac":
            return self.fraction()
        if name == "sqrt":
            return self.radical(2)
        if name == "binom":
            return node("call", self.argument(), self.argument(), name="binom")
        if name in CONSTANTS:
            return constant(CONSTANTS[name])
        if name in FUNCTIONS:
            return self.function(FUNCTIONS[name])
        if name in GREEK:
            return symbol(name)
        if name in _FENCES:
            close, function = _FENCES[name]
            self.descend()
            inner = self.sum()
            self.expect("cmd", close)
            self.nesting -= 1
            return node("call", inner, name=function)
        if name in _IGNORED:
            return self.atom()
        if name in _ACCENTS:
            parts = self.raw_script()
            return symbol("".join(part.text for part in parts))
        if name in ("sum", "prod"):
            return self.series("sum" if name == "sum" else "product")
        if name in ("lset", "langle"):
            self.at -= 1
            return self.bracketed()
        if name.startswith("set ") or name == "emptyset":
            return symbol(name)
        if len(name) > 1 and name.isalpha() and name not in _STRUCTURAL:
            return symbol("\\" + name)  # a sign of the problem's own
        raise ParseError(f"\\{name} is not read")

    def argument(self) -> Node:
        """The argument of a LaTeX command: a group, or one digit or atom."""
        if self.sees("op", "{"):
            return self.group()
        token = self.peek()
        if token is not None and token.kind == "num" and len(token.text) > 1 and token.text.isdigit():
            self.tokens[self.at] = token._replace(text=token.text[1:], spaced=False)
            return literal(token.text[0])
        if token is not None and token.kind == "word" and len(token.text) > 1 and not known_word(token.text):
            self.tokens[self.at] = token._replace(text=token.text[1:], spaced=False)
            return letter(token.text[0])
        self.descend()
        item = self.atom()
        self.nesting -= 1
        return item

    def fraction(self) -> Node:
        if self.sees("op", "("):  # frac(1)(2)
            return node("divide", self.bracketed(), self.bracketed())
        return node("divide", self.argument(), self.argument())

    def radical(self, index: int) -> Node:
        order = number(index)
        if index == 2 and self.sees("op", "["):
            self.at += 1
            order = self.sum()
            self.expect("op", "]")
        if self.sees("op", "{", "("):
            return node("root", self.group() if self.sees("op", "{") else self.bracketed(), order)
        if self.sees("num"):  # the whole number, unlike TeX: models write \sqrt 12
            return node("root", self.number(self.take().text), order)
        return node("root", self.argument(), order)

    def absolute(self, bar: str) -> Node:
        self.descend()
        self.bars += 1
        inner = self.sum()
        self.expect("op", bar)
        self.bars -= 1
        self.nesting -= 1
        return node("call", inner, name="abs")

    def function(self, name: str) -> Node:
        """A function with its power, base and arguments."""
        exponent = base = None
        for _ in range(2):
            if self.takes("op", "^"):
                exponent = self.script()
            elif self.takes("op", "_"):
                base = self.group() if self.sees("op", "{") else self.argument()
        self.descend()
        if self.sees("op", "(", "["):
            inner = self.bracketed()
        elif self.sees("op", "{"):
            inner = self.group()
        else:
            inner = self.bare_argument(name)
        self.nesting -= 1
        arguments = inner.args if inner.kind in ("tuple", "set", "list") else (inner,)
        if name in ("log", "ln", "lg"):
            base = number(10) if name == "lg" else base
            arguments = (*arguments, base) if base is not None and name != "ln" else arguments
            name = "log"
        elif base is not None:
            raise ParseError(f"a subscript of {name}")
        if exponent is not None and exponent.number == -1 and name in TRIGONOMETRIC:
            return node("call", *arguments, name="a" + name)
        if name == "exp":
            value = node("power", constant("e"), *arguments[:1])
        else:
            value = node("call", *arguments, name=name)
        return value if exponent is None else node("power", value, exponent)

    def bare_argument(self, name: str) -> Node:
        """sin 2x, ln 3: factors side by side up to a sign, a bracket or another function."""
        sign = self.signs()
        factors = [self.power()]
        while self.at_factor() and not self.sees("op") and not self.sees("text"):
            token = self.peek()
            if token is not None and (token.text in FUNCTIONS or token.text == "begin"):
                break
            factors = self.beside(factors)
        item = multiplied(factors)
        if name in TRIGONOMETRIC and item.kind in ("constant", "multiply") and self.sees("op", "/"):
            self.at += 1
            item = node("divide", item, self.power())
        return negative(item) if sign == "-" else item

    def series(self, name: str) -> Node:
        """\\sum_{k=1}^{n} of a product."""
        self.expect("op", "_")
        lower = self.raw_script()
        self.expect("op", "^")
        upper = self.script()
        if len(lower) < 3 or lower[0].kind != "word" or lower[1].text != "=":
            raise ParseError("a sum without k = ...")
        first = type(self)(lower[2:], self.options).sum()
        self.descend()
        body = self.product()
        self.nesting -= 1
        variable = symbol(lower[0].text)
        if variable.name == "i":  # an index here, not the imaginary unit
            body = transform(
                body, lambda part: variable if part.kind == "constant" and part.name == "i" else part
            )
        if variable.name not in symbols(body):
            return (
                node("multiply", body, node("add", upper, negative(first), number(1)))
                if name == "sum"
                else body
            )
        return node("sum", body, variable, first, upper, name=name)


def literal(text: str) -> Node:
    """A number or decimal as written; 0x1F, 0b101 and 0o17 have the values that programs give them."""
    if text[1:2].isalpha() and text[1] not in "eE":
        try:
            return number(int(text, base=0))
        except ValueError as error:
            raise ParseError(f"{text!r} has digits that its base lacks") from error
    plain = text.removesuffix(".")
    if plain.isdecimal():
        return node("number", name=plain, number=Fraction(int(plain)))
    _, _, exponent = plain.lower().partition("e")
    if (exponent and len(exponent) > 6) or abs(int(exponent or 0)) > _MAX_EXPONENT:
        raise TooLargeError(f"an exponent above {_MAX_EXPONENT}")
    return node("decimal", name=plain, number=Fraction(plain))


def _repeating(text: str, period: str) -> Fraction:
    places = len(text.partition(".")[2])
    head = Fraction(text + "0" if text.endswith(".") else text)
    return head + Fraction(int(period), (10 ** len(period) - 1) * 10**places)
