"""Computer algebra, run in a worker process only: sympy objects built from our own trees, never from text."""

from typing import Any

import sympy

from evals.grading.tree import Node
from evals.grading.vocabulary import HYPERBOLIC, INVERSE, TRIGONOMETRIC

_FUNCTIONS: dict[str, Any] = {
    name: getattr(sympy, name) for name in (*TRIGONOMETRIC, *HYPERBOLIC, *INVERSE)
} | {
    "abs": sympy.Abs, "floor": sympy.floor, "ceil": sympy.ceiling, "factorial": sympy.factorial,
    "doublefactorial": sympy.factorial2, "binom": sympy.binomial, "gcd": sympy.gcd, "lcm": sympy.lcm,
    "max": sympy.Max, "min": sympy.Min, "Re": sympy.re, "Im": sympy.im, "arg": sympy.arg, "sgn": sympy.sign,
}  # fmt: skip
_CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "oo": sympy.oo}


def equal_expressions(first: Node, second: Node) -> bool | None:
    """Whether two scalar trees are equal by simplification; None when sympy does not tell."""
    left, right = build(first), build(second)
    if left is None or right is None:
        return None
    if any(each.has(sympy.nan, sympy.zoo) for each in (left, right)):
        return False  # divided by zero: no value, so not the same one
    if left == right:
        return True
    difference = sympy.simplify(left - right)
    if difference == 0:
        return True
    return (
        False if difference.is_number and difference.is_zero is False else difference.equals(sympy.Integer(0))
    )


def build(item: Node) -> Any:
    """The sympy expression of a tree; None where a node has no counterpart."""
    if item.kind in ("number", "decimal") and item.number is not None:
        return sympy.Rational(item.number.numerator, item.number.denominator)
    if item.kind == "symbol":
        return sympy.Symbol(item.name)
    if item.kind == "constant":
        return _CONSTANTS[item.name]
    args: list[Any] = [build(arg) for arg in item.args]
    if any(arg is None for arg in args):
        return None
    match item.kind:
        case "add":
            return sympy.Add(*args)
        case "multiply":
            return sympy.Mul(*args)
        case "divide":
            return args[0] / args[1]
        case "power":
            return sympy.Pow(args[0], args[1])
        case "root":
            return sympy.root(args[0], args[1])
        case "degree":
            return args[0] * sympy.pi / 180
        case "percent":
            return args[0] / 100
        case "sum":
            body, variable, low, high = args
            total = sympy.Sum if item.name == "sum" else sympy.Product
            return total(body, (variable, low, high)).doit()
        case "call" if item.name == "log":
            return sympy.log(*args)
        case "call" if item.name in _FUNCTIONS:
            return _FUNCTIONS[item.name](*args)
        case "call" if item.name.startswith("function "):
            return sympy.Function(item.name)(*args)
    return None


# Workers are forked from a process that has imported this module: what sympy sets up on first use is set up
# here, so that it does not count against the time of every fresh worker's first task.
_K = sympy.Symbol("k")
sympy.simplify(sympy.Sum(sympy.Integer(2) ** -_K, (_K, 1, sympy.oo)).doit() - sympy.sqrt(8))
