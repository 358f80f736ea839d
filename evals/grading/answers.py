"""Whole answers from text: lists, sets, intervals, matrices, equations, inequalities, congruences, words."""

from itertools import pairwise

from evals.grading.atoms import literal
from evals.grading.environments import EnvironmentParser
from evals.grading.expressions import letter
from evals.grading.options import ParseError
from evals.grading.tokens import Token
from evals.grading.tree import Node, node, symbol, symbols
from evals.grading.vocabulary import names

_RELATIONS = {
    "=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "approx": "~",
    "equiv": "==", "cong": "==", "sim": "~", "in": "in", "notin": "notin", "subset": "subset",
    "subseteq": "subset",
}  # fmt: skip
_SET_OPERATIONS = {"cup": "union", "cap": "intersection", "setminus": "difference"}
_WORD_LENGTH = 4  # a name with fewer letters is a variable's
_ANY = frozenset(["any", "every"])
_CONDITIONS = frozenset(["if", "for", "where", "when", "with"])
_LEADS = frozenset(names("only about approximately exactly around answer therefore thus so hence"))
# Words that turn the meaning of an answer, so that they are no mere lead.
_TURNING = names("no all any odd even most least less more undefined never")


class AnswerParser(EnvironmentParser):
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
            if self.at_condition() or (found and self.at_condition(_ANY)):
                self.skip_condition(closers)
                if self.closes(closers):
                    break
                continue
            found.append(self.clause())
            if not self.sees("op", ",", ";", "and", "or") and not self.at_condition():
                break
        if not found:
            raise ParseError("nothing where an answer is due")
        return found[0] if len(found) == 1 else node("list", *found, name=joint)

    def closes(self, closers: tuple[str, ...]) -> bool:
        token = self.peek()
        return token is None or (token.kind in ("op", "cmd") and token.text in closers)

    def at_condition(self, openings: frozenset[str] = _CONDITIONS) -> bool:
        """Whether "for all n", "where k is an integer" and the like begin here."""
        token = self.peek()
        if token is None or token.kind not in ("text", "word"):
            return False
        words = token.text.strip(" ,(").split()
        return bool(words) and words[0].lower() in openings

    def skip_condition(self, closers: tuple[str, ...]) -> None:
        """Step over a condition, to the end or to where another answer follows."""
        while not self.closes(closers):
            if self.sees("op", "and", "or", ";") and self.another_answer():
                return
            self.at += 1

    def another_answer(self) -> bool:
        """Whether what follows "and" here is an equation, as in f(x) = 0 for x < 1 and f(x) = 1 for x > 1."""
        ahead = self.tokens[self.at + 1 : self.at + 7]
        return bool(ahead) and ahead[0].kind != "text" and any(token.text == "=" for token in ahead)

    def clause(self) -> Node:
        """An expression, or a chain of relations between expressions."""
        self.skip_label()
        self.takes("cmd", "approx")
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
        return node(
            "relation", *sides, name=" ".join("=" if each in ("~", "==") else each for each in operators)
        )

    def skip_label(self) -> None:
        """Step over "Paolo:", "Case 1:" or "Maximum =" before a value."""
        first = self.peek()
        for length in (1, 2, 3):
            if first is not None and self.sees("op", ":", "=", offset=length):
                shortest = 2 if self.sees("op", ":", offset=length) else _WORD_LENGTH
                named = first.kind == "text" or (first.kind == "word" and len(first.text) >= shortest)
                if named and self.peek(length + 1) is not None:
                    self.at += length + 1
                return

    def function_head(self) -> Node | None:
        """x(t) before an equals sign is a function's value, whatever the letter."""
        if not self.sees("op", "(", offset=1):
            return None
        shape = [(token.kind, token.text) for token in self.tokens[self.at : self.at + 5]]
        if len(shape) < 5 or shape[3:] != [("op", ")"), ("op", "=")]:
            return None
        if shape[0][0] != "word" or len(shape[0][1]) > 1 or shape[2][0] not in ("word", "num"):
            return None
        argument = literal(shape[2][1]) if shape[2][0] == "num" else symbol(shape[2][1])
        self.at += 4
        return node("call", argument, name="function " + shape[0][1])

    def modulus(self) -> Node | None:
        if self.sees("cmd", "pmod", "bmod", "mod") or self.sees("word", "mod"):
            self.at += 1
            return self.sum()
        if self.at_bracketed_modulus():
            self.at += 2
            value = self.sum()
            self.expect("op", ")")
            return value
        return None

    def operand(self) -> Node:
        """An expression, set operations between sets, or a ratio a : b."""
        left = self.family() or self.sum()
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

    def family(self) -> Node | None:
        """\\bigcup_{k = ...}^{...} of a set that depends on k."""
        if not self.sees("cmd", "cup") or not self.sees("op", "_", offset=1):
            return None
        self.at += 2
        self.raw_script()
        if self.takes("op", "^"):
            self.raw_script()
        return node("family", self.operand())

    def at_factor(self) -> bool:
        if self.at >= self.count:
            return False
        token = self.tokens[self.at]
        if token.text in ("U", "u") and self.at > 0 and self.tokens[self.at - 1].text in (")", "]", "rset"):
            self.tokens[self.at] = token._replace(kind="word", text="U")
            return False
        if token.text == "(" and self.at_bracketed_modulus():
            return False
        if token.kind in ("text", "word") and self.at_condition():
            return False
        return super().at_factor()

    def at_bracketed_modulus(self) -> bool:
        """Whether (mod ...) begins here."""
        return self.sees("op", "(") and (
            self.sees("word", "mod", offset=1) or self.sees("cmd", "mod", "bmod", offset=1)
        )

    def bracketed(self) -> Node:
        """( ), [ ], { }, < >: grouping, a tuple, an interval or a set."""
        opener = self.take()
        self.descend()
        bars, self.bars = self.bars, 0
        if opener.text == "lset" and self.sees("begin", "array", "aligned", "matrix"):
            found = self.environment("cases")
            self.takes("cmd", "rset")
        elif opener.text == "lset":
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
        only = self.peek()
        is_short = only is not None and (only.kind == "num" or (only.kind == "word" and len(only.text) == 1))
        if only is not None and is_short and self.sees("op", "}", offset=1):  # most are: no need to descend
            self.at += 2
            return literal(only.text) if only.kind == "num" else letter(only.text)
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


def _parts(inner: Node) -> tuple[Node, ...]:
    return inner.args if inner.kind == "list" and inner.name == "," else (inner,)


def unnested(tokens: list[Token]) -> list[Token]:
    """Tokens without doubled brackets: ((x)) is (x), however deep."""
    if not any(one.text == other.text and one.text in ("(", "{") for one, other in pairwise(tokens)):
        return tokens
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
