"""Arithmetic of small matrices: sums, multiples, products and powers written out to one matrix."""

from collections.abc import Sequence

from evals.grading.exact import rational
from evals.grading.tree import Node, contains, is_scalar, negative, node, number

Rows = Sequence[Sequence[Node]]
_MAX_SIDE = 10
_MAX_POWER = 8


def has_matrix(item: Node) -> bool:
    return contains(item, "matrix")


def rows_of(item: Node) -> Rows | None:
    """Rows of a matrix, an expression in matrices, a tuple of tuples or a vector; None for the rest."""
    if item.kind in ("tuple", "list", "set"):
        if all(part.kind == "tuple" for part in item.args):
            return [part.args for part in item.args]
        return [item.args]
    if is_scalar(item):
        return [[item]]
    return _value(item)


def line(rows: Rows) -> Sequence[Node] | None:
    """The entries of a single row or column."""
    if len(rows) == 1:
        return rows[0]
    return [row[0] for row in rows] if all(len(row) == 1 for row in rows) else None


def _value(item: Node) -> Rows | None:
    match item.kind:
        case "matrix":
            rows = [row.args for row in item.args]
            return rows if len({len(row) for row in rows}) == 1 else None
        case "add":
            return _sum([_value(arg) for arg in item.args])
        case "multiply":
            total: Rows | Node = number(1)
            for arg in item.args:
                factor = arg if is_scalar(arg) else _value(arg)
                product = None if factor is None else _product(total, factor)
                if product is None:
                    return None
                total = product
            return None if isinstance(total, Node) else total
        case "divide" if is_scalar(item.args[1]):
            return _value(node("multiply", node("divide", number(1), item.args[1]), item.args[0]))
        case "power":
            exponent = rational(item.args[1])
            if item.args[1].kind == "symbol" and item.args[1].name in ("T", "\\top"):
                base = _value(item.args[0])
                return None if base is None else list(zip(*base, strict=True))
            if exponent is not None and exponent.denominator == 1 and 1 <= exponent <= _MAX_POWER:
                return _value(node("multiply", *[item.args[0]] * int(exponent)))
    return None


def _sum(terms: Sequence[Rows | None]) -> Rows | None:
    known = [term for term in terms if term is not None]
    shapes = {(len(term), len(term[0])) for term in known}
    if len(known) < len(terms) or len(shapes) != 1:
        return None
    return [
        [node("add", *(term[row][column] for term in known)) for column in range(len(known[0][0]))]
        for row in range(len(known[0]))
    ]


def _product(left: Rows | Node, right: Rows | Node) -> Rows | Node | None:
    if isinstance(left, Node) and isinstance(right, Node):
        return node("multiply", left, right)
    if isinstance(left, Node):
        return [[_times(left, entry) for entry in row] for row in right]  # type: ignore[union-attr]
    if isinstance(right, Node):
        return [[_times(right, entry) for entry in row] for row in left]
    if len(left[0]) != len(right) or max(len(left), len(right), len(right[0])) > _MAX_SIDE:
        return None
    return [
        [
            node("add", *(_times(a, b[column]) for a, b in zip(row, right, strict=True)))
            for column in range(len(right[0]))
        ]
        for row in left
    ]


def _times(factor: Node, entry: Node) -> Node:
    if factor.number == 1:
        return entry
    return negative(entry) if factor.number == -1 else node("multiply", factor, entry)
