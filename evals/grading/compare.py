"""Equality of parsed answers: scalars, collections, equations, inequalities, sets, words.

Every comparison is symmetric. What numbers cannot settle is collected in `unsettled` for computer algebra.
"""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from evals.grading import intervals, probe
from evals.grading.exact import rational
from evals.grading.forms import (
    both_name_a_function,
    declared_parameters,
    ends_of_chain,
    set_of,
    signs_written_out,
    value_of,
    with_argument_of,
    with_parameter_of,
    without_wrapping,
)
from evals.grading.matrices import has_matrix, line, rows_of
from evals.grading.options import GradingOptions
from evals.grading.scalars import same_scalar
from evals.grading.tree import (
    Node,
    is_scalar,
    negative,
    node,
    symbols,
)

_FLIPPED = intervals.FLIPPED | {"subset": "superset"}
_MAX_ITEMS = 200


class Comparison:
    """One comparison of two answers under `options`."""

    def __init__(self, options: GradingOptions) -> None:
        self.options = options
        self.unsettled: list[tuple[Node, Node]] = []

    def answers(self, first: Node, second: Node) -> bool:
        """Whether two whole answers are equal."""
        declared = declared_parameters(first) | declared_parameters(second)
        first, second = (
            signs_written_out(without_wrapping(first)),
            signs_written_out(without_wrapping(second)),
        )
        return self.same(first, with_parameter_of(first, second, declared))

    def same(self, first: Node, second: Node) -> bool:
        if first == second:
            return True
        first, second = without_wrapping(first), without_wrapping(second)
        kinds = {first.kind, second.kind}
        if "text" in kinds:
            return self.words(first, second)
        if "phrase" in kinds or "family" in kinds:
            return first.kind == second.kind and self.ordered(first.args, second.args)
        if "congruence" in kinds:
            return self.congruences(first, second)
        if "cases" in kinds:
            return first.kind == second.kind and self.unordered(first.args, second.args)
        if "member" in kinds:
            return self.same(set_of(first), set_of(second))
        if kinds == {"relation"}:
            return self.relations(first, second) or (
                symbols(first) == symbols(second) and self.as_sets(first, second)
            )
        if "relation" in kinds:
            return self.relation_and_other(first, second)
        if is_scalar(first) and is_scalar(second):
            return self.scalars(first, second)
        return self.collections(first, second)

    def scalars(self, first: Node, second: Node) -> bool:
        settled = same_scalar(first, second, self.options)
        if settled is None:
            self.unsettled.append((first, second))
        return settled is True

    # Collections.

    def collections(self, first: Node, second: Node) -> bool:
        kinds = {first.kind, second.kind}
        if (
            kinds & {"union", "intersection", "difference"}
            or _mentions_reals(first)
            or _mentions_reals(second)
        ):
            return self.as_sets(first, second) or self.parts_of_unions(first, second)
        if has_matrix(first) or has_matrix(second):
            return self.matrices(first, second)
        if "ratio" in kinds:
            return self.ratios(first, second)
        if not kinds <= {"list", "tuple", "set"}:
            return (
                first.kind == second.kind
                and first.name == second.name
                and self.ordered(first.args, second.args)
            )
        if kinds == {"tuple"}:
            long = len(first.args) > 2 or "<>" in (first.name, second.name)
            if not long and first.name != second.name and not self.as_sets(first, second):
                return False
            return self.ordered(first.args, second.args)
        if "tuple" in kinds:
            bare = first if first.kind == "tuple" else second
            other = second if first.kind == "tuple" else first
            if (other.kind == "set" and not other.name) or (other.kind == "list" and other.name == "or"):
                return False
            if other.args and all(part.kind == "relation" for part in other.args):
                return self.ordered(bare.args, tuple(value_of(part) for part in other.args)) or self.as_sets(
                    first, second
                )
            return self.ordered(bare.args, other.args)
        if kinds == {"list"} and self.options.ordered_lists:
            return self.ordered(first.args, second.args)
        return self.unordered(_distinct(first), _distinct(second))

    def ordered(self, first: Sequence[Node], second: Sequence[Node]) -> bool:
        return len(first) == len(second) and all(self.same(a, b) for a, b in zip(first, second, strict=True))

    def unordered(self, first: Sequence[Node], second: Sequence[Node]) -> bool:
        """Whether the items pair up one to one."""
        if len(first) != len(second):
            return False
        values = [[rational(item) for item in items] for items in (first, second)]
        if all(value is not None for row in values for value in row):
            return Counter(values[0]) == Counter(values[1])
        if len(first) > _MAX_ITEMS:
            return False
        left = list(second)
        for item in first:
            for index, candidate in enumerate(left):
                if self.same(item, candidate):
                    del left[index]
                    break
            else:
                return False
        return True

    def matrices(self, first: Node, second: Node) -> bool:
        rows, others = rows_of(first), rows_of(second)
        if rows is None or others is None:
            return False
        if [len(row) for row in rows] == [len(row) for row in others]:
            return all(self.ordered(a, b) for a, b in zip(rows, others, strict=True))
        if has_matrix(first) and has_matrix(second):
            return False
        lines = line(rows), line(others)  # a column is a vector
        return lines[0] is not None and lines[1] is not None and self.ordered(lines[0], lines[1])

    def ratios(self, first: Node, second: Node) -> bool:
        if first.kind != second.kind:
            scalar, pair = (second, first) if first.kind == "ratio" else (first, second)
            if len(pair.args) != 2 or scalar.kind not in ("divide", "decimal") or _clock(pair):
                return False
            return self.scalars(node("divide", *pair.args), scalar)
        if self.ordered(first.args, second.args):
            return True
        if len(first.args) != len(second.args) or (_clock(first) and _clock(second)):
            return False
        products = [
            (node("multiply", a, d), node("multiply", b, c))
            for (a, b), (c, d) in zip(pairwise(first.args), pairwise(second.args), strict=True)
        ]
        return all(self.scalars(left, right) for left, right in products)

    # Sets of numbers.

    def as_sets(self, first: Node, second: Node) -> bool:
        """Whether both describe the same set of real numbers."""
        left, right = intervals.intervals(first), intervals.intervals(second)
        if left is None or right is None or len(left) != len(right):
            return False
        return all(
            one.closed == other.closed and self.same(one.item, other.item)
            for a, b in zip(left, right, strict=True)
            for one, other in zip(a, b, strict=True)
        )

    def parts_of_unions(self, first: Node, second: Node) -> bool:
        if first.kind != second.kind or first.kind not in ("union", "intersection", "difference"):
            return False
        parts = [_flattened(first, first.kind), _flattened(second, second.kind)]
        return self.ordered(*parts) if first.kind == "difference" else self.unordered(*parts)

    # Statements.

    def relations(self, first: Node, second: Node) -> bool:
        operators, others = first.name.split(), second.name.split()
        if len(operators) == len(others):
            if operators == others and self.ordered(first.args, second.args):
                return True
            flipped = [_FLIPPED.get(each, each) for each in reversed(others)]
            if operators == flipped and self.ordered(first.args, tuple(reversed(second.args))):
                return True
        if len(operators) == len(others) == 1:
            if operators == others == ["="] and both_name_a_function(first, second):
                return self.same(first.args[1], second.args[1])
            return self.proportional(first, second)
        if set(operators) | set(others) == {"="}:
            return (
                self.same(ends_of_chain(first), ends_of_chain(second))
                if len(operators) + len(others) > 2
                else False
            )
        return False

    def proportional(self, first: Node, second: Node) -> bool:
        """Whether lhs - rhs of one is a constant times that of the other, with the right sign for < and >."""
        if first.name not in _FLIPPED or second.name not in _FLIPPED:
            return False
        if not all(is_scalar(side) for side in (*first.args, *second.args)):
            return False
        renamed = with_argument_of(first, second)
        left, right = (node("add", each.args[0], negative(each.args[1])) for each in renamed)
        if symbols(left) != symbols(right):
            return False
        sign = probe.ratio(left, right)
        if not sign:
            return False
        if first.name in ("=", "!="):
            return first.name == second.name
        return (first.name if sign > 0 else _FLIPPED[first.name]) == second.name

    def relation_and_other(self, first: Node, second: Node) -> bool:
        relation, other = (first, second) if first.kind == "relation" else (second, first)
        if set(relation.name.split()) == {"="}:
            target = value_of(relation)
            if target is not relation:
                return self.same(target, other)
            return False
        return self.as_sets(first, second)

    def congruences(self, first: Node, second: Node) -> bool:
        if first.kind != second.kind:
            congruence, other = (first, second) if first.kind == "congruence" else (second, first)
            return self.same(congruence.args[0], value_of(other))
        if not self.same(first.args[1], second.args[1]):
            return False
        values = [rational(each.args[0]) for each in (first, second)]
        modulus = rational(first.args[1])
        if values[0] is None or values[1] is None or not modulus:
            return self.same(first.args[0], second.args[0])
        return (values[0] - values[1]) % modulus == 0

    def words(self, first: Node, second: Node) -> bool:
        if first.kind == second.kind:
            return bool(first.name) and first.name.replace(" ", "") == second.name.replace(" ", "")
        value, words = (second, first) if first.kind == "text" else (first, second)
        target = value_of(value)
        return target is not value and self.same(target, words)


def _distinct(item: Node) -> Sequence[Node]:
    """A set's items once each; lists as they are."""
    if item.kind != "set":
        return item.args
    kept: dict[Node | Fraction, Node] = {}
    for arg in item.args:
        value = rational(arg)
        kept.setdefault(arg if value is None else value, arg)
    return list(kept.values())


def _mentions_reals(item: Node) -> bool:
    return (item.kind == "symbol" and (item.name.startswith("set ") or item.name == "emptyset")) or (
        item.kind == "add"
        and any(part.kind == "symbol" and part.name.startswith("set ") for part in item.args)
    )


def _clock(item: Node) -> bool:
    """Whether a ratio may be a time of day."""
    return len(item.args) == 2 and len(item.args[1].name) == 2


def _flattened(item: Node, kind: str) -> list[Node]:
    if item.kind != kind:
        return [item]
    return [part for arg in item.args for part in _flattened(arg, kind)]
