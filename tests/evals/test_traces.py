"""Cutting traces by token ids, against a plain re-statement of what a budget means."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import ThinkingFormat, ThinkingReport
from evals.budgets import axis_of, limit_of, parse_budgets, sort_budgets
from evals.sweep.traces import Cut, answer_start, cut_at, thinking_positions

OPEN, CLOSE, END = 1, 2, 3
BY_MODEL = ThinkingFormat(
    "m", "<think>", "</think>", OPEN, CLOSE, "model", "stop</think>", [90, 91, CLOSE], None
)
BY_TEMPLATE = dataclasses.replace(BY_MODEL, opened_by="template")
words = st.lists(st.integers(10, 20), max_size=30)


@given(words, words, st.integers(1, 40))
def test_one_block(thinking: list[int], answer: list[int], budget: int) -> None:
    for format, opening in ((BY_MODEL, [OPEN]), (BY_TEMPLATE, [])):
        ids = [*opening, *thinking, CLOSE, *answer, END]
        cut = cut_at(ids, budget, format, ended=True)
        if budget >= len(thinking):
            assert cut is None
        else:
            assert cut == Cut(len(opening) + budget, inserts=True, thinking=budget)
            assert ids[: cut.kept] == opening + thinking[:budget]


@given(words)
def test_unfinished_trace(thinking: list[int]) -> None:
    ids = [OPEN, *thinking]
    assert len(thinking_positions(ids, BY_MODEL, ended=False)) == len(thinking)
    assert cut_at(ids, max(1, len(thinking)), BY_MODEL, ended=False) is None


def test_end_of_turn_is_no_thinking() -> None:
    assert thinking_positions([OPEN, 10, 11, END], BY_MODEL, ended=True) == [1, 2]
    assert thinking_positions([OPEN, 10, 11, END], BY_MODEL, ended=False) == [1, 2, 3]


def test_two_blocks_share_a_budget() -> None:
    ids = [OPEN, 10, 11, CLOSE, 12, OPEN, 13, 14, CLOSE, 15, END]
    assert cut_at(ids, 1, BY_MODEL, ended=True) == Cut(2, inserts=True, thinking=1)
    # The budget is used up when the second block opens: its open tag is what is forbidden.
    assert cut_at(ids, 2, BY_MODEL, ended=True) == Cut(5, inserts=False, thinking=2)
    assert cut_at(ids, 3, BY_MODEL, ended=True) == Cut(7, inserts=True, thinking=3)
    assert cut_at(ids, 4, BY_MODEL, ended=True) is None


def test_answer_without_thinking() -> None:
    assert cut_at([10, 11, END], 1, BY_MODEL, ended=True) is None
    with pytest.raises(ValueError, match="budget: 0"):
        cut_at([10], 0, BY_MODEL, ended=True)


@given(words, words, st.integers(1, 40))
def test_answer_start(thinking: list[int], answer: list[int], budget: int) -> None:
    ids = [OPEN, *thinking, CLOSE, *answer, END]
    natural = ThinkingReport("natural", None, len(thinking), 0)
    assert ids[answer_start(ids, natural, BY_MODEL, ended=True) :] == [*answer, END]
    if budget < len(thinking):
        ids = [OPEN, *thinking[:budget], *BY_MODEL.stop_ids, *answer, END]
        cut = ThinkingReport("budget", budget, budget, 3)
        assert ids[answer_start(ids, cut, BY_MODEL, ended=True) :] == [*answer, END]


def test_answer_start_of_special_replies() -> None:
    assert answer_start([10, END], ThinkingReport("disabled", 0, 0, 0), BY_MODEL, ended=True) == 0
    assert answer_start([10, END], ThinkingReport("natural", None, 0, 0), BY_MODEL, ended=True) == 0
    assert answer_start([OPEN, 10], ThinkingReport("length", None, 1, 0), BY_MODEL, ended=False) == 2
    assert answer_start([OPEN, 10, END], ThinkingReport("natural", None, 1, 0), BY_MODEL, ended=True) == 3


def test_reports_that_contradict_the_tokens() -> None:
    with pytest.raises(RuntimeError, match="thinking tokens"):
        answer_start([OPEN, 10, CLOSE], ThinkingReport("natural", None, 5, 0), BY_MODEL, ended=False)
    with pytest.raises(RuntimeError, match="early-stop text"):
        answer_start([OPEN, 10, CLOSE], ThinkingReport("budget", 1, 1, 3), BY_MODEL, ended=False)


def test_budgets() -> None:
    assert parse_budgets("64, 0,max,8,8") == [0, 8, 64, "max"]
    assert sort_budgets(["max", 3, 0]) == [0, 3, "max"]
    assert parse_budgets("max,50%,7%,0") == [0, "7%", "50%", "max"]
    for bad in ("", "8,", "-1", "1.5", "all", "1e3", "²", "9" * 10):
        with pytest.raises(ValueError, match=r"budgets: .* is not a budget"):
            parse_budgets(bad)


def test_shares_of_the_natural_length() -> None:
    assert axis_of([0, "50%", "max"]) == "share"
    assert axis_of([0, "max"]) == "tokens"
    for bad in ("0%", "100%", "5.5%", "-5%", "%", "050%"):
        with pytest.raises(ValueError, match=r"budgets: .* is not a budget"):
            parse_budgets(bad)
    with pytest.raises(ValueError, match=r"8 counts tokens and 50% share"):
        parse_budgets("0,8,50%")
    # Floor, at least one token, and "max" and tokens as they are.
    assert [limit_of("50%", n) for n in (0, 1, 2, 3, 9)] == [1, 1, 1, 1, 4]
    assert limit_of("99%", 200) == 198
    assert [limit_of(b, 9) for b in (0, 4, "max")] == [0, 4, float("inf")]
