"""Any text at all gets a verdict, the same one whichever side it stands on, and soon."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from evals.grading import Verdict, compare, grade

COMMANDS = """
frac dfrac sqrt boxed text mathrm left right cdot times div pm mp
sin cos tan log ln lim sum prod int binom gcd min max bmod
pi infty circ degree alpha theta cup cap in le ge ne setminus
lfloor rfloor overline vec hat operatorname quad begin end
"""
# Pieces of answers, and of their wreckage.
PIECES = [
    *"0123456789xyzneikABCD+-*/^_=<>!|%$&~'\"`,.;:()[]{}@#? \n",
    *(rf"\{name}" for name in COMMANDS.split()),
    *(
        "{pmatrix}",
        "{cases}",
        "^{",
        "_{",
        "10^{",
        "\\\\",
        "\\{",
        "\\}",
        "\\%",
        "\\$",
        "\\,",
        "!!",
        "and",
        "or",
    ),
    *(
        "the answer is",
        "</think>",
        "####",
        " cm",
        "1,000",
        "0.5",
        "1e9",
        "²",
        "√",
        "π",
        "½",
        "−",
        "\0",
        "\ud800",
    ),
]
answers = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
    st.text(max_size=60),
)


@given(gold=answers, reply=answers)
@settings(max_examples=400, deadline=None)
def test_a_reply_gets_a_verdict(gold: str, reply: str) -> None:
    start = time.perf_counter()
    for text in (reply, rf"\boxed{{{reply}}}"):
        assert isinstance(grade(gold, text).verdict, Verdict)
    assert time.perf_counter() - start < 4.0


@given(one=answers, other=answers)
@settings(max_examples=400, deadline=None)
def test_the_order_of_two_answers_does_not_matter(one: str, other: str) -> None:
    assert compare(one, other) == compare(other, one)


@given(answer=answers)
@settings(max_examples=200, deadline=None)
def test_an_answer_equals_itself(answer: str) -> None:
    assert compare(answer, answer)[0] is Verdict.EQUAL
