"""Trees of parsed answers: immutable, bounded in depth and size, safe to send to a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from evals.grading.options import TooLargeError
from evals.grading.vocabulary import names

MAX_DEPTH = 80  # two Python frames a level stay far from the interpreter's recursion limit


@dataclass(frozen=True, slots=True)
class Node:
    """One node.

    kind, by what it holds:
      scalars: number, decimal (name: as written), symbol, constant (pi, e, i, oo), add, multiply, divide,
        power, call (name: the function), root (radicand, index), plusminus (name: "+-" or "-+"),
        percent, degree, unit (name: the unit as written), based (name: digits, number: base), sum (body,
        variable, from, to; name: "sum" or "product"), opaque (integrals, derivatives, limits: name);
      collections: tuple (name: its brackets, as "[)"), list (name: "," "and" "or"), set, matrix (of rows),
        row, union, intersection, difference (name: the same), ratio;
      statements: relation (name: operators joined by spaces), member, congruence (value, modulus), text.
    """

    kind: str
    args: tuple[Node, ...] = ()
    name: str = ""
    number: Fraction | None = None
    depth: int = 1


def node(kind: str, *args: Node, name: str = "", number: Fraction | None = None) -> Node:
    """A node over `args`; TooLargeError when the tree becomes too deep."""
    depth = 1
    for arg in args:
        depth = max(depth, arg.depth + 1)
    if depth > MAX_DEPTH:
        raise TooLargeError(f"an expression nested deeper than {MAX_DEPTH}")
    return Node(kind, args, name, number, depth)


def number(value: Fraction | int) -> Node:
    return Node("number", number=Fraction(value))


def symbol(name: str) -> Node:
    return Node("symbol", name=name)


def constant(name: str) -> Node:
    return Node("constant", name=name)


def negative(item: Node) -> Node:
    """-item, as a number where it is one."""
    if item.kind == "number" and item.number is not None:
        return Node("number", name="-" + item.name if item.name else "", number=-item.number)
    if item.kind == "decimal" and item.number is not None:
        name = item.name[1:] if item.name.startswith("-") else "-" + item.name
        return node("decimal", name=name, number=-item.number)
    return node("multiply", number(-1), item)


def rebuild(item: Node, args: tuple[Node, ...]) -> Node:
    """`item` with other children."""
    return node(item.kind, *args, name=item.name, number=item.number)


def walk(item: Node) -> Iterator[Node]:
    """Every node of the tree, parents first."""
    stack = [item]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(top.args)


def transform(item: Node, change: Callable[[Node], Node]) -> Node:
    """The tree with `change` applied to every node, children first."""
    args = tuple(transform(arg, change) for arg in item.args)
    return change(item if args == item.args else rebuild(item, args))


def contains(item: Node, kind: str) -> bool:
    """Whether a node of this kind stands anywhere in the tree."""
    stack = [item]
    while stack:
        top = stack.pop()
        if top.kind == kind:
            return True
        stack.extend(top.args)
    return False


def symbols(item: Node) -> frozenset[str]:
    """Names of the free symbols (the index of a sum is bound)."""
    found: set[str] = set()
    bound: set[str] = set()
    stack = [item]
    while stack:
        top = stack.pop()
        if top.kind == "symbol":
            found.add(top.name)
        elif top.kind == "sum":
            bound.add(top.args[1].name)
        stack.extend(top.args)
    return frozenset(found - bound)


SCALARS = frozenset(
    names(
        "number decimal symbol constant add multiply divide power call root plusminus percent degree "
        "unit based sum opaque"
    )
)


def is_scalar(item: Node) -> bool:
    """Whether every part of the tree is a scalar."""
    stack = [item]
    while stack:
        top = stack.pop()
        if top.kind not in SCALARS:
            return False
        stack.extend(top.args)
    return True
