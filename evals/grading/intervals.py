"""Sets of real numbers as ordered, disjoint intervals, whether written as such or as inequalities."""

from dataclasses import dataclass
from typing import Any

from evals.grading.probe import real_value
from evals.grading.tree import Node, constant, negative, symbols

FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_MAX_PARTS = 64


@dataclass(frozen=True, slots=True)
class End:
    """One end of an interval: its expression, its value, and whether it belongs to the interval."""

    item: Node
    value: Any
    closed: bool


Interval = tuple[End, End]
_NEGATIVE_INFINITY, _INFINITY = negative(constant("oo")), constant("oo")


def intervals(item: Node) -> list[Interval] | None:
    """The set that `item` describes, in order, touching parts joined; None if it is no set of reals."""
    found = _intervals(item)
    return None if found is None or len(found) > _MAX_PARTS else _joined(found)


def _intervals(item: Node) -> list[Interval] | None:
    match item.kind:
        case "tuple" if (
            len(item.args) == 2 and len(item.name) == 2 and item.name[0] in "([" and item.name[1] in ")]"
        ):
            low, high = _end(item.args[0], item.name[0] == "["), _end(item.args[1], item.name[1] == "]")
            if low is None or high is None or low.value > high.value:
                return None
            is_point = low.value == high.value and item.name != "[]"  # (a, a) is a pair, not the empty set
            return None if is_point else [(low, high)]
        case "set":
            ends = [_end(arg, True) for arg in item.args]
            return (
                None if any(end is None for end in ends) else [(end, end) for end in ends if end is not None]
            )
        case "symbol" if item.name in ("set R", "set {R}"):
            return [_everything()]
        case "symbol" if item.name == "emptyset":
            return []
        case "relation":
            return _relation(item)
        case "member":
            return _intervals(item.args[1])
        case "list" if item.args and all(arg.kind in ("relation", "member", "tuple") for arg in item.args):
            return _list(item)
        case "union" | "intersection" | "difference":
            return _operation(item)
        case "add" if (
            len(item.args) == 2 and item.args[0].kind == "symbol" and item.args[1].kind == "multiply"
        ):
            whole, minus = _intervals(item.args[0]), _intervals(item.args[1].args[-1])
            return None if whole is None or minus is None else _intersected(whole, _complement(minus))
    return None


def _list(item: Node) -> list[Interval] | None:
    """Inequalities of one variable: "or" and "," join them, "and" meets them."""
    if (
        any(arg.kind == "tuple" for arg in item.args)
        or len(set().union(*(symbols(arg) for arg in item.args))) > 1
    ):
        return None
    if all(arg.kind == "relation" and arg.name == "=" for arg in item.args):
        return None
    parts = [intervals(arg) for arg in item.args]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    excluded = any(arg.kind == "relation" and arg.name == "!=" for arg in item.args)
    if item.name != "and" and not excluded:
        return [interval for part in known for interval in part]
    total = known[0]
    for part in known[1:]:
        total = _intersected(total, part)
    return total


def _operation(item: Node) -> list[Interval] | None:
    left, right = intervals(item.args[0]), intervals(item.args[1])
    if left is None or right is None:
        return None
    if item.kind == "union":
        return left + right
    return _intersected(left, right if item.kind == "intersection" else _complement(right))


def _relation(item: Node) -> list[Interval] | None:
    """x < 3, 1 < x <= 2, x != 0, with one lone variable and constants."""
    sides, operators = list(item.args), item.name.split()
    places = [index for index, side in enumerate(sides) if symbols(side)]
    if len(places) != 1 or len(sides) > 3 or any(operator not in FLIPPED for operator in operators):
        return None
    place, total = places[0], [_everything()]
    if not (sides[place].kind == "symbol" or sides[place].name.startswith("function ")):
        return None
    for index, side in enumerate(sides):
        if index == place:
            continue
        if abs(index - place) != 1:
            return None
        operator = operators[index - 1] if index > place else FLIPPED[operators[index]]
        end = _end(side, operator in ("<=", ">=", "=", "!="))
        if end is None:
            return None
        if operator in ("<", "<="):
            part = [(_minus_infinity(), end)]
        elif operator in (">", ">="):
            part = [(end, _plus_infinity())]
        else:
            part = [(end, end)] if operator == "=" else _complement([(end, end)])
        total = _intersected(total, part)
    return total


def _end(item: Node, closed: bool) -> End | None:
    value = real_value(item)
    if value is None:
        return None
    infinite = value in (float("inf"), float("-inf"))
    return End(item, value, closed and not infinite)


def _minus_infinity() -> End:
    return End(_NEGATIVE_INFINITY, real_value(_NEGATIVE_INFINITY), False)


def _plus_infinity() -> End:
    return End(_INFINITY, real_value(_INFINITY), False)


def _everything() -> Interval:
    return _minus_infinity(), _plus_infinity()


def _joined(parts: list[Interval]) -> list[Interval]:
    parts = [part for part in parts if part[0].value < part[1].value or (part[0].closed and part[1].closed)]
    parts.sort(key=lambda part: (part[0].value, not part[0].closed))
    total: list[Interval] = []
    for low, high in parts:
        if total:
            last_low, last_high = total[-1]
            touching = low.value < last_high.value or (
                low.value == last_high.value and (low.closed or last_high.closed)
            )
            if touching:
                if (high.value, high.closed) > (last_high.value, last_high.closed):
                    total[-1] = (last_low, high)
                continue
        total.append((low, high))
    return total


def _complement(parts: list[Interval]) -> list[Interval]:
    gaps: list[Interval] = []
    start = _minus_infinity()
    for low, high in _joined(parts):
        gaps.append((start, End(low.item, low.value, not low.closed)))
        start = End(high.item, high.value, not high.closed)
    gaps.append((start, _plus_infinity()))
    infinities = (float("inf"), float("-inf"))
    return _joined([gap for gap in gaps if gap[0].value < gap[1].value or gap[0].value not in infinities])


def _intersected(left: list[Interval], right: list[Interval]) -> list[Interval]:
    found = []
    for a in left:
        for b in right:
            low = max(a[0], b[0], key=lambda end: (end.value, not end.closed))
            high = min(a[1], b[1], key=lambda end: (end.value, end.closed))
            if low.value <= high.value:
                found.append((low, high))
    return _joined(found)
