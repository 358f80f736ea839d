"""Rows of the fusion stage: what the model sees, what carries loss, and which flag wins."""

import random

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from evals.problems import thinkmath
from evals.problems.thinkmath import Item
from serve import DEFAULT_MODEL
from trainer.fusion import (
    Row,
    cut_row,
    draw_conversation,
    draw_cut,
    draw_row,
    no_think_row,
    plain,
    prompt_ids,
    think_row,
    thinking_ids,
)
from trainer.recipe import Mix

MIX = Mix(think=1, cut=1, no_think=1, answer_weight=4.0, flags=True, multi_turn=0.5)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(DEFAULT_MODEL)


@pytest.fixture
def item() -> Item:
    return thinkmath.draw(random.Random(3), "train", 3, "chain")


def trained_text(tokenizer: PreTrainedTokenizerBase, row: Row) -> str:
    return tokenizer.decode([id for id, weight in zip(row.ids, row.weights, strict=True) if weight > 0])


def test_think_rows_train_the_thinking_and_the_answer(tokenizer: PreTrainedTokenizerBase, item: Item) -> None:
    row = think_row(tokenizer, prompt_ids(tokenizer, plain(item)), item)
    answer = item.problem.answer
    expected = f"<think>\n{item.trace}\n</think>\n\nThe answer is \\boxed{{{answer}}}.<|im_end|>"
    assert trained_text(tokenizer, row) == expected


def test_cut_rows_train_the_answer_alone(tokenizer: PreTrainedTokenizerBase, item: Item) -> None:
    prompt = prompt_ids(tokenizer, plain(item))
    row = cut_row(tokenizer, prompt, item, cut=5, answer_weight=4.0)
    assert trained_text(tokenizer, row) == f"The answer is \\boxed{{{item.problem.answer}}}.<|im_end|>"
    close = tokenizer.convert_tokens_to_ids("</think>")
    opened = tokenizer.convert_tokens_to_ids("<think>")
    start = row.ids.index(opened, len(prompt) - 1) + 1
    assert row.ids[start : start + 5] == thinking_ids(tokenizer, item)[:5]
    assert row.ids.count(close) == 1
    assert sorted({weight for weight in row.weights if weight}) == [1.0, 4.0]
    heavy = [id for id, weight in zip(row.ids, row.weights, strict=True) if weight == 4.0]
    assert tokenizer.decode(heavy) == item.problem.answer


def test_the_empty_block_is_trained_for_the_soft_switch_only(
    tokenizer: PreTrainedTokenizerBase, item: Item
) -> None:
    prompt = prompt_ids(tokenizer, plain(item))
    soft = trained_text(tokenizer, no_think_row(tokenizer, prompt, item, soft=True, answer_weight=1.0))
    hard = trained_text(tokenizer, no_think_row(tokenizer, prompt, item, soft=False, answer_weight=1.0))
    assert soft == f"<think>\n\n</think>\n\n{hard}"
    assert hard.startswith("The answer is")


def test_cuts_fall_inside_the_thinking(tokenizer: PreTrainedTokenizerBase) -> None:
    rng = random.Random(0)
    for _ in range(200):
        item = thinkmath.draw(rng, "train", rng.choice(thinkmath.LEVELS))
        assert 1 <= draw_cut(rng, tokenizer, item) < len(thinking_ids(tokenizer, item))


def test_the_last_flag_asks_for_the_mode_that_is_trained() -> None:
    rng = random.Random(0)
    seen = set()
    for _ in range(3_000):
        thinking = rng.random() < 0.5
        item = thinkmath.draw(rng, "train", 1)
        conversation = draw_conversation(rng, item, thinking, MIX)
        texts = [message["content"] for message in conversation.messages if message["role"] != "assistant"]
        flags = [word for text in texts for word in text.split() if word in ("/think", "/no_think")]
        if not conversation.enable_thinking:
            assert not thinking
        else:
            assert thinking == (flags[-1:] != ["/no_think"])
        assert conversation.soft_no_think == (not thinking and conversation.enable_thinking)
        seen.add((thinking, conversation.enable_thinking, tuple(flags)))
    assert {
        (True, True, ()),
        (True, True, ("/no_think", "/think")),
        (False, True, ("/think", "/no_think")),
    } <= seen


def test_rows_fit_the_model_and_are_never_without_loss(tokenizer: PreTrainedTokenizerBase) -> None:
    rng = random.Random(0)
    for _ in range(500):
        row = draw_row(rng, tokenizer, "train", MIX)
        assert len(row.ids) == len(row.weights) <= 512
        assert any(row.weights)
        assert row.weights[0] == 0.0
