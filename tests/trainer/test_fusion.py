"""Rows of the fusion stage: what the model sees, what carries loss, and which flag wins."""

import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from evals.problems import thinkmath
from evals.problems.thinkmath import Item
from serve import DEFAULT_MODEL
from trainer.batch import forward, make_batch
from trainer.fusion import (
    STOP_TEXT,
    Row,
    add_cut,
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

MIX = Mix(think=1, no_think=1, cuts=2, answer_weight=4.0, flags=True, multi_turn=0.5)


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


def test_cut_branches_train_the_answer_alone(tokenizer: PreTrainedTokenizerBase, item: Item) -> None:
    prompt = prompt_ids(tokenizer, plain(item))
    row = think_row(tokenizer, prompt, item)
    add_cut(row, tokenizer, len(prompt), item, cut=5, answer_weight=4.0)
    (branch,) = row.branches
    opened = tokenizer.encode("<think>")
    assert row.ids[: branch.fork] == prompt + opened + thinking_ids(tokenizer, item)[:5]
    reply = tokenizer.decode(row.ids[branch.start :])
    assert reply == f"{STOP_TEXT}The answer is \\boxed{{{item.problem.answer}}}.<|im_end|>"
    weights = row.weights[branch.start :]
    assert row.weights[branch.start] == 0.0
    trained = [id for id, weight in zip(row.ids[branch.start :], weights, strict=True) if weight]
    assert tokenizer.decode(trained) == f"The answer is \\boxed{{{item.problem.answer}}}.<|im_end|>"
    heavy = [id for id, weight in zip(row.ids, row.weights, strict=True) if weight == 4.0]
    assert tokenizer.decode(heavy) == item.problem.answer


def test_branches_score_as_if_they_stood_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    model = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL, dtype=torch.float32).eval()
    rng = random.Random(0)
    rows = [draw_row(rng, tokenizer, "train", MIX) for _ in range(8)]
    with torch.no_grad():
        together = forward(model, make_batch(rows, pad=0))
        compared = 0
        for index, row in enumerate(rows):
            bounds = [*(branch.start for branch in row.branches), len(row.ids)]
            for branch, end in zip(row.branches, bounds[1:], strict=True):
                alone = torch.tensor([row.ids[: branch.fork] + row.ids[branch.start : end]])
                expected = model(input_ids=alone).logits[0, branch.fork :]
                torch.testing.assert_close(
                    together[index, branch.start : end], expected, atol=1e-3, rtol=1e-3
                )
                compared += 1
    assert compared >= 4


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


def test_think_rows_fork_into_cuts_and_no_think(tokenizer: PreTrainedTokenizerBase) -> None:
    rng = random.Random(0)
    branches = set()
    for _ in range(300):
        row = draw_row(rng, tokenizer, "train", MIX)
        assert len(row.ids) == len(row.weights)
        assert any(row.weights)
        assert row.weights[0] == 0.0
        assert all(row.weights[branch.start] == 0.0 for branch in row.branches)
        branches.add(len(row.branches))
    assert branches == {0, MIX.cuts + 1}
