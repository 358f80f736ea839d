"""Pairs of answers by type: equal ones are, different ones are not, whichever comes first."""

import pytest
from grading_cases import DIFFERENT, EQUAL

from evals.grading import Verdict, compare, equivalent, grade


def _pairs(table: dict[str, list[tuple[str, str]]]) -> list[object]:
    return [pytest.param(a, b, id=f"{kind}: {a} | {b}") for kind, pairs in table.items() for a, b in pairs]


@pytest.mark.parametrize(("a", "b"), _pairs(EQUAL))
def test_equal(a: str, b: str) -> None:
    assert equivalent(a, b)
    assert equivalent(b, a)
    assert grade(a, f"So the answer is \\boxed{{{b}}}.").correct


@pytest.mark.parametrize(("a", "b"), _pairs(DIFFERENT))
def test_different(a: str, b: str) -> None:
    assert compare(a, b)[0] in (Verdict.DIFFERENT, Verdict.LIMIT)
    assert not equivalent(b, a)
    assert not grade(a, f"So the answer is \\boxed{{{b}}}.").correct


@pytest.mark.parametrize(
    ("a", "b", "verdict", "method"),
    [
        ("7", "07", Verdict.EQUAL, "exact"),
        ("1/2", "0.5", Verdict.EQUAL, "number"),
        ("7", "8", Verdict.DIFFERENT, "number"),
        ("x+1", "1+x", Verdict.EQUAL, "typed"),
        ("7", "\\frac{1}{", Verdict.UNPARSABLE, "typed"),
        ("0x1F_{16}", "0x2A_{16}", Verdict.UNPARSABLE, "typed"),
        ("0xG1", "0xG2", Verdict.UNPARSABLE, "typed"),
        ("0b12", "0b13", Verdict.UNPARSABLE, "typed"),
        ("7", "9^{9^{9^{9^9}}}", Verdict.LIMIT, "typed"),
        ("7", "blue", Verdict.DIFFERENT, "typed"),
        ("\\sum_{k=1}^{\\infty} 2^{-k}", "1", Verdict.EQUAL, "symbolic"),
    ],
)
def test_verdict_and_method(a: str, b: str, verdict: Verdict, method: str) -> None:
    assert compare(a, b) == (verdict, method)
