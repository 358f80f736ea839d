"""What the final answer of a reply is."""

import pytest

from evals.grading import Verdict, final_answer, grade, last_boxed, normalise


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
        (r"\fbox{7}", "7"),
        (r"\boxed{\}", None),
        ("boxed{7}", None),
        ("7", None),
        ("", None),
    ],
)
def test_last_complete_box(text: str, expected: str | None) -> None:
    assert last_boxed(text) == expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        # Boxes: the last one, with those it is joined to.
        (r"First \boxed{3}. Then \boxed{7}.", "7"),
        (r"$x$ is \boxed{3} or \boxed{7}.", "3, 7"),
        (r"$\boxed{1}$, $\boxed{2}$ and $\boxed{3}$", "1, 2, 3"),
        (r"\boxed{1} \text{ and } \boxed{2}", "1, 2"),
        (r"\boxed{5}, that is, \boxed{5}", "5"),
        (r"\boxed{10} and then \boxed{42}", "42"),
        (r"\boxed{3} = \boxed{7}", "7"),
        (r"\boxed 7", "7"),
        (r"The answer is 3, so \boxed{7}", "7"),
        (r"\\boxed{\\frac{1}{2}}", r"\frac{1}{2}"),
        # Stated answers.
        ("The answer is 42.", "42"),
        ("The final answer is $\\frac{1}{2}$. I hope it is correct.", "$\\frac{1}{2}$"),
        ("**Answer:** 42", "42"),
        ("The final answer is 0x1F.", "0x1F"),
        ("The answer that the whole program then prints for it is 0x1F on that machine", "0x1F"),
        ("ANSWER: 3/4", "3/4"),
        ("Final Answer: The largest $n$ is 34.", "34"),
        ("2 + 2 = 4\n#### 4", "4"),
        ("Reasoning.\nA: 26", "26"),
        ("The answer is 3. No: the answer is 4.", "4"),
        ("Answer: (C)", "(C)"),
        ("La réponse est 7.", "7"),
        # The last formula, a bold number, a short reply, a last line.
        ("It follows that $x = 3$, so we get $x + 1 = 4$", "x + 1 = 4"),
        ("Thus it is \\[ 9 \\]", "9"),
        ("There are 9 left, so it is **9**", "9"),
        ("42", "42"),
        ("First compute 6*7.\n42", "42"),
        # None.
        (r"\boxed{7", None),
        (r"\boxed{ }", None),
        ("", None),
        ("I do not know how to do this.\nIt is too hard for me.\n", None),
    ],
)
def test_final_answer(response: str, expected: str | None) -> None:
    assert final_answer(response) == expected


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("<think>\\boxed{7}</think>\\boxed{8}", Verdict.DIFFERENT),
        ("<think>\\boxed{8}</think>\\boxed{7}", Verdict.EQUAL),
        ("\\boxed{8}</think>\\boxed{7}", Verdict.EQUAL),
        ("\\boxed{7}</think>", Verdict.NO_ANSWER),
        ("<think>so \\boxed{7}", Verdict.CENSORED),
        ("<think>a</think> <think>\\boxed{7}", Verdict.CENSORED),
        ("\\boxed{7}<|im_end|>\\boxed{8}", Verdict.EQUAL),
        (r"\boxed{7", Verdict.NO_ANSWER),
        (r"\boxed{ }", Verdict.NO_ANSWER),
    ],
)
def test_only_text_after_thinking_counts(response: str, verdict: Verdict) -> None:
    assert grade("7", response).verdict is verdict


@pytest.mark.parametrize(
    "gold", ["7", "\\boxed{7}", "3 + 4 = 7\n#### 7", "$7$", "We add $3$ and $4$, so it is $\\boxed{7}$."]
)
def test_expected_answers_come_bare_or_in_solutions(gold: str) -> None:
    assert grade(gold, "It is \\boxed{7}.").correct
    assert not grade(gold, "It is \\boxed{8}.").correct


def test_a_short_reply_may_be_the_answer_as_a_whole() -> None:
    assert grade("odd $n$", "odd $n$").correct
    assert not grade("odd $n$", "even $n$").correct


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" 7 ", "7"),
        ("007", "7"),
        ("+7", "7"),
        ("-0", "0"),
        ("- 7", "-7"),
        ("\N{MINUS SIGN}7", "-7"),
        ("$7$", "7"),
        ("1,234,567", "1234567"),
        ("1{,}234", "1234"),
        ("12,34", "12,34"),
        ("7.0", "7"),
        ("7.5", "7.5"),
        ("\N{ARABIC-INDIC DIGIT SEVEN}", "\N{ARABIC-INDIC DIGIT SEVEN}"),
        (" a b ", "a b"),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected
