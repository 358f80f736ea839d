"""Grading: the final answer of a reply against the expected one, in stages from cheap to costly.

1. the same text after normalising; 2. plain numbers; 3. parsed answers compared part by part, expressions
numerically; 4. computer algebra in a worker process, for what numbers cannot settle.
"""

from collections.abc import Callable, Sequence

from evals.grading.cage import shared_cage
from evals.grading.choices import same_choice
from evals.grading.compare import Comparison
from evals.grading.extract import after_thinking, bare_answer, expected_answer, final_answer
from evals.grading.numeric import time_limit
from evals.grading.opposites import opposed
from evals.grading.options import Grade, GradingOptions, TooLargeError, TooLongError, Verdict
from evals.grading.plain import normalise, plain_number
from evals.grading.readings import readings, strip
from evals.grading.tree import Node, is_scalar

_DEFAULT = GradingOptions()
_SYMBOLIC = "evals.grading.symbolic:equal_expressions"
_NUMERIC_SECONDS = 0.4  # of processor time, for one comparison; answers of real replies take 0.01 s
_SYMBOLIC_SECONDS = 1.0  # in workers, for one comparison
_MANY = 200  # distinct pairs, of which one may need a worker


def grade(gold: str, response: str, options: GradingOptions = _DEFAULT) -> Grade:
    """Compare the final answer of `response` with `gold`. Any text at all gets a verdict.

    May be called from any thread; an asyncio program calls it through `asyncio.to_thread`, since the last
    stage waits for a worker process.
    """
    if after_thinking(response) is None:
        return Grade(False, None, Verdict.CENSORED)
    answer = final_answer(response)
    if answer is None:
        return Grade(False, None, Verdict.NO_ANSWER)
    expected = expected_answer(gold)
    verdict, method = compare(expected, answer, options)
    if (
        verdict in (Verdict.DIFFERENT, Verdict.UNPARSABLE) and method != "symbolic"
    ):  # a short reply may be the answer as a whole: odd $n$
        whole = bare_answer(after_thinking(response) or "")
        if (
            whole not in (None, answer)
            and "boxed" not in whole
            and compare(expected, whole, options)[0] is Verdict.EQUAL
        ):
            return Grade(True, whole, Verdict.EQUAL, "typed")
    return Grade(verdict is Verdict.EQUAL, answer, verdict, method)


def equivalent(a: str, b: str, options: GradingOptions = _DEFAULT) -> bool:
    """Whether two bare answers are equal; the order of the two does not matter."""
    return compare(a, b, options)[0] is Verdict.EQUAL


def compare(a: str, b: str, options: GradingOptions = _DEFAULT) -> tuple[Verdict, str]:
    """Verdict on two bare answers, and the method that reached it. Symmetric."""
    a, b = sorted((normalise(a), normalise(b)))
    if a == b:
        return Verdict.EQUAL, "exact"
    numbers = plain_number(a), plain_number(b)
    if numbers[0] is not None and numbers[1] is not None:
        if numbers[0] == numbers[1]:
            return Verdict.EQUAL, "number"
        if ("." in a) == ("." in b):  # otherwise one may be the other rounded
            return Verdict.DIFFERENT, "number"
    try:
        left, right = readings(a, options), readings(b, options)
        comparison = Comparison(options)
        with time_limit(_NUMERIC_SECONDS):
            equal = same_choice(strip(a), strip(b)) or any(
                comparison.answers(one, other) for one in left for other in right
            )
        if equal:
            return (Verdict.DIFFERENT if opposed(a, b) else Verdict.EQUAL), "typed"
    except (TooLargeError, TooLongError):
        return Verdict.LIMIT, "typed"
    if comparison.unsettled and options.symbolic:
        return _symbolic(comparison.unsettled, left, right)
    if comparison.unsettled:
        return Verdict.LIMIT, "typed"
    unread = [item for item in (left[0], right[0]) if item.kind == "text" and _is_mathematics(item.name)]
    return (Verdict.UNPARSABLE if unread else Verdict.DIFFERENT), "typed"


def _symbolic(
    unsettled: Sequence[tuple[Node, Node]], left: tuple[Node, ...], right: tuple[Node, ...]
) -> tuple[Verdict, str]:
    """What computer algebra says of two whole scalars; parts of collections it does not see stay a LIMIT.

    There may be several such pairs, one for each way to read the answers: one that is equal is enough.
    """
    all_settled = True
    seconds = _SYMBOLIC_SECONDS
    for one, other in unsettled:
        if seconds <= 0 or one not in left + right or not (is_scalar(one) and is_scalar(other)):
            all_settled = False
            continue
        result = shared_cage(_SYMBOLIC).call(one, other, seconds=seconds)
        if result.value:
            return Verdict.EQUAL, "symbolic"
        all_settled = all_settled and result.value is not None
        seconds -= result.seconds
    return (Verdict.DIFFERENT if all_settled else Verdict.LIMIT), "symbolic"


def _is_mathematics(text: str) -> bool:
    return any(mark in "\\^_={}<>0123456789" for mark in text)


def grade_many(pairs: Sequence[tuple[str, str]], grader: str = "thinkdial") -> list[Grade]:
    """Grades of (gold, response) pairs, each distinct pair graded once.

    grader: "thinkdial", "math-verify" (that library, in the same cage) or "exact" (the box's text).
    """
    graders: dict[str, Callable[[str, str], Grade]] = {
        "thinkdial": grade,
        "exact": _exact,
        "math-verify": _math_verify,
    }
    if grader not in graders:
        raise ValueError(f"grader: {grader!r} is not known; give {', '.join(graders)}")
    distinct = dict.fromkeys(pairs)
    if grader == "thinkdial" and len(distinct) >= _MANY:
        shared_cage(_SYMBOLIC).prepare()  # sympy's import goes on beside the first stages
    done = {pair: graders[grader](*pair) for pair in distinct}
    return [done[pair] for pair in pairs]


def _exact(gold: str, response: str) -> Grade:
    if after_thinking(response) is None:
        return Grade(False, None, Verdict.CENSORED)
    answer = final_answer(response)
    if answer is None:
        return Grade(False, None, Verdict.NO_ANSWER)
    correct = normalise(answer) == normalise(expected_answer(gold))
    return Grade(correct, answer, Verdict.EQUAL if correct else Verdict.DIFFERENT, "exact")


def _math_verify(gold: str, response: str) -> Grade:
    from evals.grading import math_verify

    return math_verify.grade(gold, response)
