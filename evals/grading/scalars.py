"""Equality of two scalars: units, percentages and rounding by convention, then exact, then numeric."""

from fractions import Fraction
from typing import Any

from evals.grading import probe
from evals.grading.exact import rational
from evals.grading.options import GradingOptions
from evals.grading.tree import Node, constant, node, number, symbols, walk
from evals.grading.units import measure, share_a_word

_FLOAT_DIGITS = 12  # a decimal this long is a computer's, whose last place may be off by one
_SINGLE_LETTER_UNITS = frozenset("mgshLJNWVAK")


def same_scalar(first: Node, second: Node, options: GradingOptions) -> bool | None:
    """Whether two scalars are equal under `options`; None when numbers cannot settle it.

    TooLargeError when values are too large to compute.
    """
    for one, other in ((first, second), (second, first)):
        if one.kind == "based":
            return _same_based(one, other, options)
    for one, other in ((first, second), (second, first)):
        if one.kind == "percent":
            return _same_percent(one, other, options)
    for one, other in ((first, second), (second, first)):
        if one.kind == "unit":
            return _same_unit(one, other, options)
    for one, other in ((first, second), (second, first)):
        if one.kind == "degree":
            return _same_degree(one, other, options)
    return _same_value(first, second, options)


def _same_based(based: Node, other: Node, options: GradingOptions) -> bool | None:
    if other.kind == "number" and other.name and options.bare_base:
        return based.name.lstrip("0") == other.name.lstrip("0")
    if other.kind == "based" and based.number == other.number:
        return based.name.lstrip("0").upper() == other.name.lstrip("0").upper()
    values = rational(based), rational(other)
    return values[0] is not None and values[0] == values[1]


def _same_percent(percent: Node, other: Node, options: GradingOptions) -> bool | None:
    inner = percent.args[0]
    if other.kind == "percent":
        return same_scalar(inner, other.args[0], options)
    if other.kind == "degree" or (options.units != "ignore" and _is_measured(other)):
        return False
    settled: bool | None = False
    if options.percent in ("number", "either"):
        settled = same_scalar(inner, other, options)
    if settled is not True and options.percent in ("fraction", "either"):
        settled = same_scalar(inner, node("multiply", number(100), other), options) or settled
    return settled


def _same_unit(one: Node, other: Node, options: GradingOptions) -> bool | None:
    inner = one.args[0]
    name = one.name.strip().lower()
    if name in ("percent", "pct", "percentage", "%"):
        return same_scalar(node("percent", inner), other, options)
    if name in ("degrees", "degree", "deg", "°"):
        return same_scalar(node("degree", inner), other, options)
    if name.startswith(("million", "billion", "thousand", "hundred", "trillion")):
        factor = {"h": 2, "t": 3, "m": 6, "b": 9}[name[0]] if not name.startswith("tr") else 12
        return same_scalar(node("multiply", inner, number(10**factor)), other, options)
    if options.units == "ignore":
        return same_scalar(inner, other.args[0] if other.kind == "unit" else other, options)
    if other.kind != "unit":
        if other.kind == "degree" and _is_measured(one):
            return False
        return options.units != "require" and same_scalar(inner, other, options)
    measures = measure(one.name), measure(other.name)
    if measures[0] is None or measures[1] is None:
        return same_scalar(inner, other.args[0], options) if share_a_word(one.name, other.name) else False
    if measures[0][0] != measures[1][0]:
        return False
    scaled = [
        item if factor == 1 else node("multiply", item, number(factor))
        for item, (_, factor) in ((inner, measures[0]), (other.args[0], measures[1]))
    ]
    return same_scalar(scaled[0], scaled[1], options)


def _is_measured(item: Node) -> bool:
    """Whether it is in a unit whose dimension is known: no percentage or angle equals that."""
    return item.kind == "unit" and measure(item.name) is not None


def _same_degree(degree: Node, other: Node, options: GradingOptions) -> bool | None:
    inner = degree.args[0]
    if other.kind == "degree":
        return same_scalar(inner, other.args[0], options)
    if other.kind == "unit":
        return _same_unit(other, degree, options)
    in_radians = any(part.kind == "constant" and part.name == "pi" for part in walk(other))
    if in_radians:
        return same_scalar(
            node("divide", node("multiply", inner, constant("pi")), number(180)), other, options
        )
    return same_scalar(inner, other, options)


def _same_value(first: Node, second: Node, options: GradingOptions) -> bool | None:
    values = rational(first), rational(second)
    if values[0] is not None and values[1] is not None:
        return values[0] == values[1] or _rounds(first, second, options)
    if _is_infinite(first) or _is_infinite(second):
        infinities = probe.real_value(first), probe.real_value(second)
        return None not in infinities and infinities[0] == infinities[1]
    bare = _without_letter_unit(first, second)
    if bare is not None:
        return _same_value(*bare, options)
    settled = probe.agree(first, second)
    return True if settled is False and _rounds(first, second, options) else settled


def _is_infinite(item: Node) -> bool:
    """Whether infinity stands anywhere but in a sum's limits."""
    if item.kind == "sum":
        return _is_infinite(item.args[0])
    return item == constant("oo") or any(_is_infinite(arg) for arg in item.args)


def _without_letter_unit(first: Node, second: Node) -> tuple[Node, Node] | None:
    """5 m beside 5: the letter is a unit."""
    for one, other in ((first, second), (second, first)):
        unit = one.args[-1] if one.kind == "multiply" else None
        if unit is not None and unit.kind == "power":
            unit = unit.args[0]
        if (
            unit is None
            or unit.name not in _SINGLE_LETTER_UNITS
            or symbols(other)
            or symbols(one) != {unit.name}
        ):
            continue
        value = rational(one.args[0])
        if len(one.args) == 2 and value is not None:
            return one.args[0], other
    return None


def _rounds(first: Node, second: Node, options: GradingOptions) -> bool:
    """Whether one is a decimal with enough digits to which the other (no decimal) rounds or is cut."""
    if not options.rounded_digits:
        return False
    for one, other in (_scaled(first, second), _scaled(second, first)):
        if one.kind != "decimal" or one.number is None or any(part.kind == "decimal" for part in walk(other)):
            continue
        exact = rational(other)
        text = one.name.removesuffix("...").removeprefix("-")
        digits = len(text.replace(".", "").lstrip("0"))
        if symbols(other) or (exact is not None and exact.denominator == 1):
            continue
        if digits < options.rounded_digits or "e" in text.lower():
            continue
        value = exact if exact is not None else _fraction(probe.real_value(other))
        if value is None:
            continue
        last_place = Fraction(1, 10 ** len(text.partition(".")[2]))
        error = abs(value) - abs(one.number)
        rounded = abs(value - one.number) <= last_place / 2
        cut = 0 <= error < last_place and abs(value - one.number) < last_place
        if (
            rounded
            or (cut and digits > options.rounded_digits)
            or (digits >= _FLOAT_DIGITS and abs(error) <= last_place)
        ):
            return True
    return False


def _scaled(one: Node, other: Node) -> tuple[Node, Node]:
    """2.3 * 10^-3 beside v as 2.3 beside 1000 v."""
    if one.kind == "multiply" and [arg.kind for arg in one.args] == ["decimal", "power"]:
        decimal, power = one.args
        if power.args[0].number == 10:
            return decimal, node("divide", other, power)
    return one, other


def _fraction(value: Any) -> Fraction | None:
    """An mpf as a fraction; None when there is none, or when it is far out of any decimal's range."""
    if value is None or not 1e-300 < abs(value) < 1e300:
        return None
    sign, mantissa, exponent, _ = value._mpf_
    return Fraction((-1) ** sign * int(mantissa)) * Fraction(2) ** exponent
