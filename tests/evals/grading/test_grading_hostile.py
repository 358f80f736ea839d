"""Hostile replies: bounded time whatever the text, nothing executed, nothing imported that is heavy."""

import subprocess
import sys
import time

import pytest

from evals.grading import Verdict, equivalent, grade

_LONG = {
    "boxes that never close": r"\boxed{" * 200_000,
    "braces before a box": "{" * 1_000_000 + r"\boxed{7}",
    "boxes with spaces": (r"\boxed" + " " * 100) * 10_000,
    "backslashes": "\\" * 1_000_000,
    "digits": r"\boxed{" + "9" * 1_000_000 + "}",
    "thousands": r"\boxed{" + "1,111" * 200_000 + "}",
    "commas": r"\boxed{" + "," * 1_000_000 + "}",
    "spaces": r"\boxed{" + " " * 1_000_000 + "x}",
    "nested boxes": r"\boxed{" * 100_000 + "1" + "}" * 100_000,
    "joined boxes": r"\boxed{1}, " * 100_000,
    "thinking tags": "<think></think>" * 100_000,
    "dollar signs": "$" * 1_000_000,
    "open formulas": r"\(" * 300_000,
    "stated answers": "the answer is " * 100_000,
    "hash signs": "####" * 300_000,
    "asterisks": "*" * 500_000,
}
_DEEP = {
    "tower": "9^{9^{9^{9^9}}}",
    "factorial": "100000000!",
    "factorials": "10!!!!!!!!!",
    "binomial": r"\binom{10^{9}}{5\cdot 10^8}",
    "sum": r"\sum_{k=1}^{10^{12}} k",
    "nested sums": r"\sum_{k=1}^{200} " * 10 + "k",
    "sine": r"\sin(10^{1000})",
    "nested sines": r"\sin(" * 39 + "1" + ")" * 39,
    "power of a sum": "(a+b+c+d+x)^{10000}-(x+d+c+b+a)^{10000}",
    "brackets": "(1+" * 1000 + "7" + ")" * 1000,
    "minus signs": "-" * 9000 + "x",
    "fractions": r"\frac{1}{" * 500 + "7" + "}" * 500,
    "exponents": "x^" * 900 + "7",
    "list": "x+1," * 900 + "7",
    "terms": "x+" * 900 + "7",
    "plus-minus": r"1\pm " * 900 + "7",
    "bars": "|" * 900 + "7",
    "text in text": r"\text{" * 300 + "}" * 300,
    "unions": r"(1,2)\cup" * 300 + "(3,4)",
    "root": r"\sqrt[10^{10}]{7}",
    "exponent": "1e400000",
    "logarithms": r"\log(\log(\log(10^{10^{10}})))",
    "matrix power": r"\begin{pmatrix}" + ("1&" * 99 + r"1\\") * 15 + r"\end{pmatrix}^8",
    "subscripts": "x_" + "{" * 2000,
    "set of radicals": r"\{" + ",".join(rf"\sqrt{{{n}}}" for n in range(150)) + r"\}",
}


@pytest.mark.parametrize("response", _LONG.values(), ids=_LONG.keys())
def test_long_replies_take_linear_time(response: str) -> None:
    started = time.process_time()
    assert grade("8", response).verdict is not Verdict.EQUAL
    assert time.process_time() - started < 5


@pytest.mark.parametrize("answer", _DEEP.values(), ids=_DEEP.keys())
def test_costly_answers_are_settled_or_given_up(answer: str) -> None:
    started = time.process_time()
    for gold in ("8", "x+1", r"\{1,2\}", answer.replace("7", "8") + "+1"):
        assert grade(gold, rf"\boxed{{{answer}}}").verdict is not Verdict.EQUAL
    assert time.process_time() - started < 5
    assert equivalent(answer, answer)


def test_deep_brackets_around_a_right_answer_are_still_right() -> None:
    assert equivalent("7x", "(" * 900 + "7x" + ")" * 900)


def test_deep_stacks_of_the_caller_do_not_matter() -> None:
    def dive(levels: int) -> bool:
        return dive(levels - 1) if levels else equivalent("(" + "(1+" * 38 + "x" + ")" * 38 + ")", "x+38")

    assert dive(300)


def test_nothing_is_evaluated() -> None:
    assert grade("7", r"\boxed{__import__('os').abort()}").verdict is not Verdict.EQUAL
    assert grade("exec", r"\boxed{().__class__.__mro__}").verdict is not Verdict.EQUAL


def test_import_and_plain_grading_stay_light() -> None:
    code = (
        "import sys; from evals.grading import grade;"
        "grade('x+1', '\\\\boxed{1+x}'); grade('1/2', '\\\\boxed{0.5}');"
        "sys.exit(any(name in sys.modules for name in ('sympy', 'numpy', 'math_verify')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
