"""LaTeX environments: matrices, systems of equations, functions defined by cases."""

from abc import abstractmethod

from evals.grading.atoms import AtomParser
from evals.grading.options import ParseError
from evals.grading.tree import Node, node

_MATRICES = frozenset(
    ["matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "smallmatrix", "array"]
)
_ROWS = frozenset(
    ["cases", "dcases", "aligned", "align", "align*", "gathered", "gather", "gather*", "split", "equation*"]
)


class EnvironmentParser(AtomParser):
    """Environments; clauses and lists in them are left to a subclass."""

    @abstractmethod
    def clause(self) -> Node:
        """An expression or a statement."""

    @abstractmethod
    def items(self, *closers: str) -> Node:
        """Clauses joined by commas."""

    @abstractmethod
    def at_condition(self) -> bool:
        """Whether "if ..." begins here."""

    def environment(self, meaning: str = "") -> Node:
        """From its beginning to its end; meaning: "cases" where a brace before it says so."""
        name = self.take().text
        if name not in _MATRICES and name not in _ROWS:
            raise ParseError(f"an environment {name}")
        if name == "array" and self.sees("op", "{"):
            self.raw_script()
        name = meaning or name.removeprefix("d")
        self.descend()
        rows: list[list[Node]] = [[]]
        while not self.sees("end"):
            if self.takes("op", "&"):
                if name in _ROWS and name != "cases":
                    self.continue_row(rows[-1])
            elif self.takes("cmd", "\\"):
                rows.append([])
            elif name == "cases" and self.sees("op", ",", ".", ";"):
                self.at += 1
            elif name == "cases" and self.at_condition():
                self.condition(rows[-1])
            else:
                rows[-1].append(self.clause())
                if name in _ROWS:
                    self.takes("op", ",", ".")
        self.at += 1
        self.nesting -= 1
        kept = [node("row", *row) for row in rows if row]
        if not kept:
            raise ParseError("an empty environment")
        if name in _ROWS:
            if name == "cases" and any(len(row.args) > 1 for row in kept):
                return node("cases", *kept)
            return node("list", *(row.args[0] for row in kept), name="and")
        matrix = node("matrix", *kept)
        return node("call", matrix, name="det") if name in ("vmatrix", "Vmatrix") else matrix

    def condition(self, row: list[Node]) -> None:
        """if x > 0: what follows the word stands on the row, words as text."""
        words = self.take().text.split(maxsplit=1)
        if len(words) > 1:
            row.append(node("text", name=words[1].lower()))

    def continue_row(self, row: list[Node]) -> None:
        """a &= b: joins what stands on both sides of the alignment mark."""
        if row and self.takes("op", "="):
            row[-1] = node("relation", row[-1], self.clause(), name="=")
