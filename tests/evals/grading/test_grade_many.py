"""Many pairs at once, and the other graders."""

import asyncio

import pytest

from evals.grading import Verdict, grade, grade_many

_PAIRS = [("1/2", "\\boxed{0.5}"), ("7", "\\boxed{8}"), ("1/2", "\\boxed{0.5}"), ("7", "<think>")]


def test_grades_come_in_the_order_of_the_pairs() -> None:
    assert [each.verdict for each in grade_many(_PAIRS)] == [
        Verdict.EQUAL,
        Verdict.DIFFERENT,
        Verdict.EQUAL,
        Verdict.CENSORED,
    ]


def test_exact_compares_text_only() -> None:
    assert [each.correct for each in grade_many([*_PAIRS, ("7", "\\boxed{07}")], "exact")] == [False] * 4 + [
        True
    ]


def test_math_verify_grades_the_same_replies() -> None:
    assert [each.correct for each in grade_many(_PAIRS, "math-verify")] == [True, False, True, False]


def test_an_unknown_grader_is_named() -> None:
    with pytest.raises(ValueError, match="grader: 'sympy'"):
        grade_many(_PAIRS, "sympy")


async def test_threads_grade_at_once() -> None:
    pairs = [(f"{n}\\sqrt{{2}}", f"\\boxed{{\\frac{{{2 * n}}}{{\\sqrt2}}}}") for n in range(1, 30)]
    pairs += [("1", "\\boxed{\\sum_{k=1}^{\\infty} 2^{-k}}")] * 5
    grades = await asyncio.gather(*(asyncio.to_thread(grade, *pair) for pair in pairs))
    assert all(each.correct for each in grades)
