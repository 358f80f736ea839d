"""Numeric values of expressions at high precision, each with the size of the largest term it came from.

The size tells rounding error from difference: with d digits of precision a value is known to about
size * 10**-d. All work is bounded: exponents, arguments of functions and terms of sums have limits, past
which the value is unknown (`UnknownError`) or too large (`TooLargeError`); and many values together have the
time that `time_limit` gives, past which there is `TooLongError`.
"""

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from evals.grading.options import TooLargeError, TooLongError
from evals.grading.tree import Node
from evals.grading.vocabulary import HYPERBOLIC, INVERSE, TRIGONOMETRIC

_MAX_LOG_ARGUMENT = 10**9  # of exponentials: e^x and a^b
_MAX_ANGLE = 10**30
_MAX_GAMMA = 10**5
_MAX_WHOLE = 10**30  # numbers whose divisors are asked for
_MAX_TERMS = 200
_MAX_STEPS = 20_000
_STEPS_BETWEEN_LOOKS = 50  # at the clock; the slowest step takes a millisecond or two
_CONSTANTS = {"pi": "pi", "e": "e", "i": "j", "oo": "inf"}  # as mpmath calls them
_LOCAL = threading.local()


class UnknownError(Exception):
    """No value here: outside the domain, or a function that is not evaluated."""


def context(digits: int) -> Any:
    """This thread's mpmath context at `digits` decimal digits."""
    contexts = _LOCAL.__dict__.setdefault("contexts", {})
    if digits not in contexts:
        from mpmath.ctx_mp import MPContext

        contexts[digits] = MPContext()
        contexts[digits].dps = digits
    return contexts[digits]


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Give all evaluation by this thread inside the block `seconds` of its own processor time together.

    Past them an evaluation raises TooLongError. A busy machine does not shorten the limit.
    """
    _LOCAL.deadline = time.thread_time() + seconds
    try:
        yield
    finally:
        del _LOCAL.deadline


class Evaluator:
    """Evaluates trees at one point. size: the largest magnitude met in a sum."""

    def __init__(self, digits: int, point: Mapping[str, Any]) -> None:
        self.mp = context(digits)
        self.point = dict(point)
        self.size = self.mp.mpf(0)
        self.steps = 0
        self.deadline = getattr(_LOCAL, "deadline", math.inf)

    def value(self, item: Node) -> Any:
        """An mpf or mpc; UnknownError or TooLargeError when there is none."""
        try:
            found = self._value(item)
        except (ZeroDivisionError, ValueError, OverflowError, ArithmeticError, TypeError) as error:
            raise UnknownError(str(error)) from None
        if self.mp.isnan(found):
            raise UnknownError("not a number")
        if isinstance(found, self.mp.mpc) and found.imag == 0:
            found = found.real
        return found

    def _value(self, item: Node) -> Any:
        if self.steps % _STEPS_BETWEEN_LOOKS == 0:
            self._look_at_limits()
        self.steps += 1
        mp = self.mp
        match item.kind:
            case "number" | "decimal":
                assert item.number is not None
                value = mp.mpf(item.number.numerator)
                return value if item.number.denominator == 1 else value / item.number.denominator
            case "symbol":
                if item.name not in self.point:
                    raise UnknownError(f"no value for {item.name}")
                return self.point[item.name]
            case "constant":
                return +getattr(mp, _CONSTANTS[item.name])
            case "add":
                total = mp.mpf(0)
                for arg in item.args:
                    term = self._value(arg)
                    self.size = max(self.size, abs(term))
                    total += term
                return total
            case "multiply":
                total = mp.mpf(1)
                for arg in item.args:
                    total *= self._value(arg)
                return total
            case "divide":
                return self._value(item.args[0]) / self._value(item.args[1])
            case "power":
                return self._power(self._value(item.args[0]), self._value(item.args[1]))
            case "root":
                return self._root(self._value(item.args[0]), self._value(item.args[1]))
            case "degree":
                return self._value(item.args[0]) * mp.pi / 180
            case "percent":
                return self._value(item.args[0]) / 100
            case "unit":
                return self._value(item.args[0])
            case "sum":
                return self._series(item)
            case "call":
                return self._call(item.name, [self._value(arg) for arg in item.args])
        raise UnknownError(f"{item.kind} has no value")

    def _look_at_limits(self) -> None:
        if self.steps >= _MAX_STEPS:
            raise TooLargeError(f"more than {_MAX_STEPS} steps of evaluation")
        if time.thread_time() > self.deadline:
            raise TooLongError("more time than one comparison has")

    def _power(self, base: Any, exponent: Any) -> Any:
        mp = self.mp
        if base == 0:
            if mp.re(exponent) > 0:
                return mp.mpf(0)
            raise UnknownError("zero to a power that is not positive")
        if mp.isinf(base) or mp.isinf(exponent):
            raise UnknownError("a power of infinity")
        if abs(exponent) * (1 + abs(mp.log(abs(base)))) > _MAX_LOG_ARGUMENT:
            raise TooLargeError("a power too large to evaluate")
        return base**exponent

    def _root(self, radicand: Any, index: Any) -> Any:
        mp = self.mp
        if index == 0 or mp.isinf(radicand) or mp.im(index) != 0:
            raise UnknownError("a root of no order")
        if mp.im(radicand) == 0 and mp.re(radicand) < 0 and index == int(index) and int(index) % 2 == 1:
            return -self._root(-radicand, index)
        return mp.sqrt(radicand) if index == 2 else radicand ** (mp.mpf(1) / index)

    def _series(self, item: Node) -> Any:
        body, variable, first, last = item.args
        start, stop = self._value(first), self._value(last)
        if self.mp.isinf(stop) or not self.mp.isint(start) or not self.mp.isint(stop):
            raise UnknownError("a series without whole limits")
        if stop - start > _MAX_TERMS:
            raise TooLargeError(f"a sum of more than {_MAX_TERMS} terms")
        total = self.mp.mpf(item.name == "product")
        shadowed = self.point.get(variable.name)
        for index in range(int(start), int(stop) + 1):
            self.point[variable.name] = self.mp.mpf(index)
            term = self._value(body)
            total = total * term if item.name == "product" else total + term
        if shadowed is None:
            self.point.pop(variable.name, None)
        else:
            self.point[variable.name] = shadowed
        return total

    def _call(self, name: str, values: list[Any]) -> Any:
        mp = self.mp
        first = values[0]
        if any(mp.isinf(value) for value in values):
            raise UnknownError("a function of infinity")
        if name in TRIGONOMETRIC:
            if abs(first) > _MAX_ANGLE or abs(mp.im(first)) > 10**6:
                raise TooLargeError("a trigonometric function of too large an argument")
            return getattr(mp, name)(first)
        if name in HYPERBOLIC:
            if abs(first) > 10**6:
                raise TooLargeError("a hyperbolic function of too large an argument")
            return getattr(mp, name)(first)
        if name in INVERSE:
            return getattr(mp, name)(first)
        match name, len(values):
            case "log", 1:
                return mp.log(first)
            case "log", 2:
                return mp.log(first) / mp.log(values[1])
            case "abs", 1:
                return abs(first)
            case (("floor" | "ceil"), 1):
                if mp.im(first) != 0 or (
                    abs(first - mp.nint(first)) < mp.mpf(10) ** -20 and not mp.isint(first)
                ):
                    raise UnknownError("on the edge of a step")
                return mp.floor(first) if name == "floor" else mp.ceil(first)
            case "max", _:
                return max(values)
            case "min", _:
                return min(values)
            case "Re", 1:
                return mp.re(first)
            case "Im", 1:
                return mp.im(first)
            case "arg", 1:
                return mp.arg(first)
            case "cis", 1 if abs(first) < _MAX_ANGLE and mp.im(first) == 0:
                return mp.expj(first)
            case "sgn", 1:
                return mp.sign(first)
            case (("gcd" | "lcm"), _):
                if not all(mp.isint(value) for value in values):
                    raise UnknownError("a divisor of what is not whole")
                if max(abs(value) for value in values) > _MAX_WHOLE:
                    raise TooLargeError("a divisor of numbers too large")
                return mp.mpf((math.gcd if name == "gcd" else math.lcm)(*(int(value) for value in values)))
            case (("factorial" | "doublefactorial"), 1):
                if abs(first) > _MAX_GAMMA:
                    raise TooLargeError("a factorial too large to evaluate")
                return mp.gamma(first + 1) if name == "factorial" else mp.fac2(first)
            case "binom", 2:
                if max(abs(value) for value in values) > _MAX_GAMMA:
                    raise TooLargeError("a binomial coefficient too large to evaluate")
                return mp.binomial(*values)
        if name.startswith("function "):  # an unknown function: any fixed one will do
            total = mp.mpf(ord(name[-1])) / 7
            for power, value in enumerate(values, 2):
                total += mp.sin(value) / power if abs(value) < _MAX_ANGLE else 0
            return total
        raise UnknownError(f"{name} is not evaluated")
