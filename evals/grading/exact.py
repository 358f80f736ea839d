"""Exact rational values of expressions, with bounds on the size of every intermediate value."""

import math
from fractions import Fraction

from evals.grading.tree import Node

MAX_BITS = 20_000
_MAX_FACTORIAL = 1_500
_MAX_CHOICE = 5_000
_MAX_MULTIPLES = 50  # numbers whose least common multiple is asked for


def rational(item: Node) -> Fraction | None:
    """The value of `item` where rational arithmetic gives it within the bounds; else None."""
    match item.kind:
        case "number" | "decimal":
            return item.number
        case "add":
            return _sum(item)
        case "multiply":
            return _product(item)
        case "divide":
            top, bottom = rational(item.args[0]), rational(item.args[1])
            return None if top is None or not bottom else _bounded(top / bottom)
        case "power":
            return _power(rational(item.args[0]), rational(item.args[1]))
        case "root":
            return _root(rational(item.args[0]), rational(item.args[1]))
        case "based":
            return based_value(item.name, int(item.number or 0))
        case "call":
            values = [rational(arg) for arg in item.args]
            known = [value for value in values if value is not None]
            return _call(item.name, known) if len(known) == len(values) else None
    return None


def based_value(digits: str, base: int) -> Fraction | None:
    """Value of `digits` in `base`; None for digits that the base lacks."""
    if not 2 <= base <= 36 or len(digits) > 1_000:
        return None
    if any(int(digit, 36) >= base for digit in digits if digit.isalnum() and digit.isascii()):
        return None
    return Fraction(int(digits, base)) if digits.isalnum() and digits.isascii() else None


def _bounded(value: Fraction) -> Fraction | None:
    size = value.numerator.bit_length() + value.denominator.bit_length()
    return value if size <= MAX_BITS else None


def _sum(item: Node) -> Fraction | None:
    total: Fraction | None = Fraction(0)
    for arg in item.args:
        value = rational(arg)
        if value is None or total is None:
            return None
        total = _bounded(total + value)
    return total


def _product(item: Node) -> Fraction | None:
    total: Fraction | None = Fraction(1)
    for arg in item.args:
        value = rational(arg)
        if value is None or total is None:
            return None
        total = _bounded(total * value)
    return total


def _power(base: Fraction | None, exponent: Fraction | None) -> Fraction | None:
    if base is None or exponent is None:
        return None
    if exponent.denominator != 1:
        if exponent.denominator > 64 or base < 0:
            return None
        root = _root(base, Fraction(exponent.denominator))
        return _power(root, Fraction(exponent.numerator))
    count = exponent.numerator
    if base == 0 and count <= 0:
        return None
    if base in (0, 1):
        return base
    if base == -1:
        return Fraction(-1 if count % 2 else 1)
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(count) * size > MAX_BITS:
        return None
    return base**count


def _root(radicand: Fraction | None, index: Fraction | None) -> Fraction | None:
    """The real root where it is rational."""
    if radicand is None or index is None or index.denominator != 1 or not 1 <= index.numerator <= 64:
        return None
    order = index.numerator
    if radicand < 0:
        if order % 2 == 0:
            return None
        positive = _root(-radicand, index)
        return None if positive is None else -positive
    top, bottom = _integer_root(radicand.numerator, order), _integer_root(radicand.denominator, order)
    return None if top is None or bottom is None else Fraction(top, bottom)


def _integer_root(value: int, order: int) -> int | None:
    if order == 2:
        root = math.isqrt(value)
        return root if root * root == value else None
    if value < 2:
        return value
    low, high = 1, 1 << (value.bit_length() // order + 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**order <= value:
            low = middle
        else:
            high = middle - 1
    return low if low**order == value else None


def _call(name: str, values: list[Fraction]) -> Fraction | None:
    first = values[0] if values else None
    whole = all(value.denominator == 1 for value in values)
    match name, len(values):
        case "abs", 1:
            return abs(values[0])
        case "floor", 1:
            return Fraction(math.floor(values[0]))
        case "ceil", 1:
            return Fraction(math.ceil(values[0]))
        case "sgn", 1:
            return Fraction((values[0] > 0) - (values[0] < 0))
        case "max", _ if values:
            return max(values)
        case "min", _ if values:
            return min(values)
        case "gcd", _ if whole and values:
            return Fraction(math.gcd(*(value.numerator for value in values)))
        case "lcm", count if whole and 0 < count <= _MAX_MULTIPLES:
            return _bounded(Fraction(math.lcm(*(value.numerator for value in values))))
        case "factorial", 1 if whole and first is not None and 0 <= first <= _MAX_FACTORIAL:
            return Fraction(math.factorial(first.numerator))
        case "doublefactorial", 1 if whole and first is not None and -1 <= first <= _MAX_FACTORIAL:
            return Fraction(math.prod(range(first.numerator, 0, -2)))
        case "binom", 2 if whole and 0 <= values[1] <= values[0] <= _MAX_CHOICE:
            return Fraction(math.comb(values[0].numerator, values[1].numerator))
    return None
