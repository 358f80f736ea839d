"""Replies are split into reasoning and content as the tracker counts them, however they arrive."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.prompts import PromptState
from serve.reasoning_parser import Splitter

ENDS = {"</think>": False, "<tool_call>": True}


def split(pieces: list[str], state: PromptState) -> tuple[str, str]:
    splitter = Splitter("<think>", ENDS, state)
    parts = [splitter.feed(piece) for piece in pieces] + [splitter.finish()]
    return "".join(reasoning for reasoning, _ in parts), "".join(content for _, content in parts)


@pytest.mark.parametrize(
    ("state", "reply", "reasoning", "content"),
    [
        ("fresh", "<think>\na < b</think>\n\nc", "\na < b", "\n\nc"),
        ("fresh", "\n<think>a</think>b", "a", "b"),
        ("fresh", "b", "", "b"),
        ("fresh", "<thin", "", "<thin"),
        ("fresh", "b <think>a</think>", "", "b <think>a</think>"),
        ("fresh", "<think>a", "a", ""),
        ("fresh", "<think>a</thi", "a</thi", ""),
        ("fresh", '<tool_call>{"x": 1}</tool_call>', "", '<tool_call>{"x": 1}</tool_call>'),
        ("thinking", "a</think>b", "a", "b"),
        ("thinking", "a", "a", ""),
        ("thinking", "</think>b", "", "b"),
        ("thinking", "<think>\na</think>b", "\na", "b"),
        ("thinking", "a<tool_call>b</tool_call></think>", "a", "<tool_call>b</tool_call></think>"),
        ("thinking", "a</think>b<think>c</think>d", "a", "b<think>c</think>d"),
        ("disabled", "b</think>", "", "b</think>"),
        ("answering", "<think>b", "", "<think>b"),
    ],
)
def test_replies(state: PromptState, reply: str, reasoning: str, content: str) -> None:
    assert split([reply], state) == (reasoning, content)
    assert split(list(reply), state) == (reasoning, content)


@given(
    st.lists(
        st.sampled_from(["<", "<think>", "</", "</think>", "<tool_call>", "think>", "\n", "a"]), max_size=12
    ),
    st.lists(st.integers(0, 60), max_size=8),
    st.sampled_from(["fresh", "thinking", "answering", "disabled"]),
)
def test_pieces_do_not_matter(parts: list[str], cuts: list[int], state: PromptState) -> None:
    reply = "".join(parts)
    bounds = [0, *sorted(min(cut, len(reply)) for cut in cuts), len(reply)]
    pieces = [reply[start:end] for start, end in pairwise(bounds)]
    assert split(pieces, state) == split([reply], state)
