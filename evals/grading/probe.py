"""Equality of scalar expressions by their numeric values at chosen points.

Two expressions that differ at one point of their common domain differ. Agreement to 40 digits at several
irrational points, or to 200 digits for constants, is taken for equality (two analytic functions that agree
on random points are equal with probability one; a coincidence of constants that long does not occur).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from evals.grading.numeric import Evaluator, UnknownError, context
from evals.grading.options import TooLargeError
from evals.grading.tree import Node, symbols, walk

_DIGITS = 60
_MORE_DIGITS = 250
_AGREEMENT = 45  # digits that must agree at _DIGITS
_POINTS = 5
_MAX_SYMBOLS = 12
_DISCRETE = frozenset(["factorial", "binom", "floor", "ceil", "gcd", "lcm", "doublefactorial"])


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of two expressions at a point, and the size of the largest terms they came from."""

    first: Any
    second: Any
    size: Any


def agree(first: Node, second: Node) -> bool | None:
    """Whether two scalar expressions are equal; None when no common point has values.

    TooLargeError when their values are too large to compute.
    """
    names = sorted(symbols(first) | symbols(second))
    if not names:
        return _constants(first, second)
    if len(names) > _MAX_SYMBOLS:
        return None
    real = complex_ = mixed = 0
    for point in _points(names, _is_discrete(first) or _is_discrete(second)):
        found = _sample(first, second, _DIGITS, point)
        if found is None:
            continue
        mp = context(_DIGITS)
        if not (mp.isfinite(found.first) and mp.isfinite(found.second)):
            continue  # infinity is close to nothing, and says nothing of the other values
        kinds = [mp.im(value) != 0 for value in (found.first, found.second)]
        if kinds[0] != kinds[1]:
            mixed += 1  # outside the domain of one of them
            continue
        close = _close(found, _DIGITS)
        if close is None:
            finer = _sample(first, second, _MORE_DIGITS, point)
            close = None if finer is None else _close(finer, _MORE_DIGITS)
        if close is None:
            continue
        if not close:
            return False
        real, complex_ = real + (not kinds[0]), complex_ + kinds[0]
        if real >= _POINTS:
            return True
    if real >= 2 or complex_ >= 3:
        return True
    return False if mixed >= 3 else None


def ratio(first: Node, second: Node) -> int | None:
    """The sign of first / second when that is a nonzero constant, else 0; None when there are no values."""
    names = sorted(symbols(first) | symbols(second))
    if not names or len(names) > _MAX_SYMBOLS:
        return None
    mp = context(_DIGITS)
    quotients = []
    for point in _points(names, _is_discrete(first) or _is_discrete(second)):
        found = _sample(first, second, _DIGITS, point)
        if found is None or found.first == 0 or found.second == 0:
            continue
        quotients.append(found.first / found.second)
        if len(quotients) >= _POINTS:
            break
    if len(quotients) < 2:
        return None
    head = quotients[0]
    if (
        any(abs(each - head) > abs(head) * mp.mpf(10) ** (10 - _AGREEMENT) for each in quotients)
        or mp.im(head) != 0
    ):
        return 0
    return 1 if head > 0 else -1


def real_value(item: Node) -> Any | None:
    """The value of a constant expression as an mpf (infinities included); None when it has no real value."""
    try:
        value = Evaluator(_DIGITS, {}).value(item)
    except (UnknownError, TooLargeError):
        return None
    return value if context(_DIGITS).im(value) == 0 else None


def _constants(first: Node, second: Node) -> bool | None:
    found = _sample(first, second, _DIGITS, {})
    if found is None:
        return None
    mp = context(_DIGITS)
    if mp.isinf(found.first) or mp.isinf(found.second):
        return bool(found.first == found.second)
    if abs(found.first - found.second) > found.size * mp.mpf(10) ** (15 - _DIGITS):
        return False
    finer = _sample(first, second, _MORE_DIGITS, {})
    return None if finer is None else _close(finer, _MORE_DIGITS)


def _close(found: Sample, digits: int) -> bool | None:
    """Whether the values agree to as many digits as they have; None when their terms cancel to noise."""
    mp = context(digits)
    difference = abs(found.first - found.second)
    scale = max(abs(found.first), abs(found.second))
    slack = mp.mpf(10) ** (_DIGITS - _AGREEMENT - digits)
    if difference <= scale * slack:
        return True
    noise = found.size * slack
    if difference > noise:
        return False
    return True if noise <= mp.mpf(10) ** -_AGREEMENT else None  # zero of terms that cancel


def _sample(first: Node, second: Node, digits: int, point: dict[str, Any]) -> Sample | None:
    evaluators = [Evaluator(digits, point), Evaluator(digits, point)]
    try:
        values = [evaluator.value(item) for evaluator, item in zip(evaluators, (first, second), strict=True)]
    except UnknownError:
        return None
    size = max(*(evaluator.size for evaluator in evaluators), *(abs(value) for value in values))
    return Sample(values[0], values[1], size)


def _is_discrete(item: Node) -> bool:
    return any((part.kind == "call" and part.name in _DISCRETE) or part.kind == "sum" for part in walk(item))


def _points(names: list[str], discrete: bool) -> Iterator[dict[str, Any]]:
    """Points with positive coordinates first, then of any sign; whole ones for functions of whole numbers."""
    mp = context(_DIGITS)
    source = random.Random(20_11)
    for attempt in range(12):
        point = {}
        for index, name in enumerate(names):
            if discrete:
                point[name] = mp.mpf(source.randint(1, 4 + 2 * attempt) + 3 * (len(names) - index))
                continue
            magnitude = mp.sqrt(source.randint(2, 10_007)) / (7 if attempt % 2 else 113)
            negative = attempt >= 3 and source.random() < 0.5
            point[name] = -magnitude if negative else magnitude
        yield point
