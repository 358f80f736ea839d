"""math-verify in the cage: its verdicts, from any thread, and its absence."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import pytest

from evals.grading import Verdict, grade_many


@pytest.mark.parametrize(
    ("gold", "response", "verdict"),
    [
        ("7", r"\boxed{7}", Verdict.EQUAL),
        (r"\frac{1}{2}", "The answer is $0.5$.", Verdict.EQUAL),
        ("$x+1$", r"\boxed{1+x}", Verdict.EQUAL),
        ("7", r"\boxed{8}", Verdict.DIFFERENT),
        ("7", "I do not know.", Verdict.NO_ANSWER),
        ("", r"\boxed{8}", Verdict.UNPARSABLE),
    ],
)
def test_verdicts(gold: str, response: str, verdict: Verdict) -> None:
    [grade] = grade_many([(gold, response)], "math-verify")
    assert (grade.verdict, grade.correct) == (verdict, verdict is Verdict.EQUAL)


def test_threads() -> None:
    """On its own it raises off the main thread, or has no limits there."""
    pairs = [(str(n), rf"\boxed{{{n % 5}}}") for n in range(20)]
    with ThreadPoolExecutor(8) as threads:
        grades = list(threads.map(lambda pair: grade_many([pair], "math-verify")[0], pairs))
    assert [grade.correct for grade in grades] == [n < 5 for n in range(20)]


def test_absence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^grader: .*pip install 'thinkdial\[math-verify\]'"):
        grade_many([("7", "7")], "math-verify")
