"""Counting thinking tokens: prompt states, and the tracker against a one-line reference."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from serve import DEFAULT_MODEL
from serve.budget import ThinkingBudget
from serve.formats import load_format
from serve.grants import Grant
from serve.prompts import prompt_state
from serve.trace import ThinkingTracker

FORM = load_format(AutoTokenizer.from_pretrained(DEFAULT_MODEL), DEFAULT_MODEL)


def encode(text: str) -> list[int]:
    return FORM.tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("", "fresh"),
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "fresh"),
        ("<|im_start|>assistant\n<think>\n", "thinking"),
        ("<|im_start|>assistant\n<think>\nso far", "thinking"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", "disabled"),
        ("<|im_start|>assistant\n<think>\nthought\n</think>\n\n", "answering"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\nThe", "fresh"),
        ("<think>never closed<|im_end|>\n<|im_start|>assistant\n", "fresh"),
        ("<think>\n\n</think>\n\n4<|im_end|>\n<|im_start|>assistant\n", "fresh"),
    ],
)
def test_prompt_state(text: str, state: str) -> None:
    assert prompt_state(encode(text), FORM) == state


TOKENS = st.lists(st.sampled_from([FORM.open_id, FORM.close_id, 1, 2, 3]), max_size=40)


def tracker_of(state: str, budget: int | None = None, **asked: Any) -> ThinkingTracker:
    wish = ThinkingBudget(budget, **asked)
    return ThinkingTracker(FORM, state, wish, Grant(budget, budget))  # type: ignore[arg-type]


def thinking_tokens(ids: list[int]) -> int:
    inside, found = False, 0
    for token in ids:
        found += inside and token != FORM.close_id
        inside = token != FORM.close_id and (inside or token == FORM.open_id)
    return found


@given(TOKENS)
def test_unlimited_counts_all(ids: list[int]) -> None:
    tracker = tracker_of("fresh")
    assert tracker.feed(ids) is None
    assert tracker.tokens == thinking_tokens(ids)
    assert tracker.finish("stop").stop_cause == "natural"


@given(TOKENS, st.integers(0, 10), st.integers(1, 5))
def test_stops_at_the_first_forbidden_token(ids: list[int], budget: int, step: int) -> None:
    """However the tokens arrive, what may stay is the longest prefix within the budget."""
    tracker = tracker_of("fresh", budget)
    kept = len(ids)
    for start in range(0, len(ids), step):
        verdict = tracker.feed(ids[start : start + step])
        if verdict is not None:
            kept = start + verdict.keep
            assert verdict.action == ("cut" if tracker.in_block else "bar")
            break
    assert thinking_tokens(ids[:kept]) == tracker.tokens <= budget
    if kept < len(ids):
        spends_more = thinking_tokens(ids[: kept + 1]) > budget
        opens_with_nothing_left = ids[kept] == FORM.open_id and tracker.tokens == budget
        assert spends_more or opens_with_nothing_left
        assert tracker.in_block == spends_more


def test_the_token_that_ends_the_reply_is_no_thinking() -> None:
    tracker = tracker_of("thinking", 2)
    turn_end = FORM.tokenizer.eos_token_id
    assert tracker.feed([1, 2, turn_end], stopped=True) is None
    assert tracker.tokens == 2


@pytest.mark.parametrize(
    ("state", "ids", "cut", "reason", "cause"),
    [
        ("fresh", [FORM.open_id, 1], False, "length", "length"),
        ("thinking", [1], False, "length", "length"),
        ("thinking", [1, FORM.close_id, 2], False, "length", "natural"),
        ("thinking", [1], True, "stop", "budget"),
        ("disabled", [1], False, "stop", "disabled"),
        ("disabled", [FORM.open_id, 1, FORM.close_id], False, "stop", "natural"),
    ],
)
def test_stop_cause(state: str, ids: list[int], cut: bool, reason: str, cause: str) -> None:
    tracker = tracker_of(state)
    tracker.feed(ids)
    if cut:
        tracker.cut_cause = "budget"
        tracker.cut(5)
    report = tracker.finish(reason)
    assert report.stop_cause == cause
    assert report.inserted_tokens == (5 if cut else 0)
