"""Grading: the box that counts, integers written in many ways, hostile input."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.grading import Verdict, grade, last_boxed, normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{7}", "7"),
        (r"so \boxed{3}, no, \boxed{7}.", "7"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed {7}", "7"),
        (r"\boxed{3} and then \boxed{7", "3"),
        (r"\boxed{x \boxed{7}", "7"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"}}} \boxed{7} {{{", "7"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\}", None),
        ("boxed{7}", None),
        ("7", None),
        ("", None),
    ],
)
def test_last_complete_box(text: str, expected: str | None) -> None:
    assert last_boxed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" 7 ", "7"),
        ("007", "7"),
        ("+7", "7"),
        ("-0", "0"),
        ("- 7", "-7"),
        ("\N{MINUS SIGN}7", "-7"),
        ("1,234,567", "1234567"),
        ("1{,}234", "1234"),
        ("12,34", "12,34"),
        ("7.0", "7.0"),
        ("\N{ARABIC-INDIC DIGIT SEVEN}", "\N{ARABIC-INDIC DIGIT SEVEN}"),
        (" a b ", "a b"),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_verdicts() -> None:
    assert grade("7", r"It is \boxed{07}.").verdict is Verdict.EQUAL
    assert grade("+7", r"\boxed{7}").correct
    different = grade("7", r"\boxed{8}")
    assert (different.verdict, different.answer, different.correct) == (Verdict.DIFFERENT, "8", False)
    for response in ("7", r"\boxed{7", r"\boxed{ }"):
        assert grade("7", response) == grade("7", "")
        assert grade("7", response).verdict is Verdict.NO_ANSWER


@given(st.integers(), st.integers())
def test_integers_are_equal_exactly_when_they_are(a: int, b: int) -> None:
    assert grade(str(a), rf"\boxed{{{b:+,}}}").correct == (a == b)


@given(st.text(alphabet=st.sampled_from("\\boxed{} 7,+-0")))
def test_any_text_is_graded(text: str) -> None:
    result = grade("7", text)
    assert result.correct == (result.verdict is Verdict.EQUAL)
    assert (result.answer is None) == (result.verdict is Verdict.NO_ANSWER)


@pytest.mark.parametrize(
    "response",
    [
        r"\boxed{" * 200_000,
        "{" * 1_000_000 + r"\boxed{7}",
        (r"\boxed" + " " * 100) * 10_000,
        "\\" * 1_000_000,
        r"\boxed{" + "9" * 1_000_000 + "}",
        r"\boxed{" + "1,111" * 200_000 + "}",
        r"\boxed{" + "," * 1_000_000 + "}",
        r"\boxed{" + " " * 1_000_000 + "x}",
    ],
)
def test_hostile_input_takes_linear_time(response: str) -> None:
    started = time.process_time()
    grade("7", response)
    assert time.process_time() - started < 5


def test_nothing_is_evaluated() -> None:
    assert not grade("4", r"\boxed{2+2}").correct
    assert grade("7", r"\boxed{__import__('os').abort()}").verdict is Verdict.DIFFERENT
