"""Rows: what the model sees, what carries loss, which flag wins; a row depends on its index alone."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from evals.problems import thinkmath
from serve import DEFAULT_MODEL
from serve.formats import ThinkingFormat, load_format
from trainer.examples import Example
from trainer.recipe.data import RowMix, Source
from trainer.recipe.model import Optimizer
from trainer.recipe.stages import ColdStart, Fusion
from trainer.rows.batch import forward, make_batch
from trainer.rows.conversation import Conversation, draw_conversation, plain_conversation, prompt_ids
from trainer.rows.draw import RowSource
from trainer.rows.replies import ReplyWriter
from trainer.rows.row import Row
from trainer.sources import ExampleStream, open_sources
from trainer.sources.thinkmath import response_to

OPTIMIZER = Optimizer(adamw_lr=1e-3)
MIX = RowMix(
    think=1,
    no_think=1,
    cuts=2,
    answer_weight=4.0,
    no_think_branches=True,
    multi_turn=0.5,
    system_prompts=["Be brief."],
)
OPENING_TEMPLATE = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}"
    "{%- else %}{{- '<think>\n' }}{%- endif %}{%- endif %}"
)
"""Like Qwen3.5's: the template opens the thinking block."""


@pytest.fixture(scope="module")
def form() -> ThinkingFormat:
    return load_format(AutoTokenizer.from_pretrained(DEFAULT_MODEL), DEFAULT_MODEL)


@pytest.fixture(scope="module")
def opening_form() -> ThinkingFormat:
    tokenizer = AutoTokenizer.from_pretrained(DEFAULT_MODEL)
    tokenizer.chat_template = OPENING_TEMPLATE
    return load_format(tokenizer, DEFAULT_MODEL)


@pytest.fixture
def example() -> Example:
    item = thinkmath.draw(random.Random(3), "train", 3, "chain")
    return Example(item.problem, item.trace, response_to(item.problem.answer))


def fusion_source(form: ThinkingFormat, mix: RowMix = MIX, seed: int = 0) -> RowSource:
    stage = Fusion(optimizer=OPTIMIZER, tokens=1, batch_tokens=1, mix=mix)
    return RowSource(stage, seed, form, open_sources([Source(kind="thinkmath")], seed))


def drawn(source: RowSource, count: int) -> list[Row]:
    return [row for index in range(count) if isinstance(row := source.at(index), Row)]


def text_of(form: ThinkingFormat, row: Row, begin: int, end: int, weights: set[float] | None = None) -> str:
    chosen = [i for i in range(begin, end) if weights is None or row.weights[i] in weights]
    return form.decode(tuple(row.ids[i] for i in chosen), skip_special_tokens=False)


def test_think_rows_train_the_thinking_and_the_response(form: ThinkingFormat, example: Example) -> None:
    row = ReplyWriter(form).think_row(plain_conversation(example), example)
    expected = f"<think>\n{example.thinking}\n</think>\n\n{example.response}<|im_end|>"
    assert text_of(form, row, 0, len(row.ids), {1.0}) == expected
    assert text_of(form, row, 0, row.prompt, {0.0}).endswith("<|im_start|>assistant\n")


def test_a_block_opened_by_the_template_is_not_opened_again(
    opening_form: ThinkingFormat, example: Example
) -> None:
    writer = ReplyWriter(opening_form)
    row = writer.think_row(plain_conversation(example), example)
    assert text_of(opening_form, row, 0, row.prompt).endswith("<think>\n")
    reply = text_of(opening_form, row, row.prompt, len(row.ids))
    assert reply == f"{example.thinking}\n</think>\n\n{example.response}<|im_end|>"
    writer.add_no_think(row, plain_conversation(example), example)
    (branch,) = row.branches
    alone = row.ids[: branch.fork] + row.ids[branch.start : branch.start + branch.given]
    assert alone == prompt_ids(opening_form, plain_conversation(example, thinks=False))
    soft = Conversation([{"role": "user", "content": "1+1 /no_think"}], True, False, True)
    row = writer.no_think_row(soft, example)
    assert text_of(opening_form, row, row.prompt, len(row.ids)).startswith("\n</think>\n\nThe answer")
    assert all(row.weights[row.prompt :])


def test_cut_branches_train_the_response_alone(form: ThinkingFormat, example: Example) -> None:
    writer = ReplyWriter(form, answer_weight=4.0)
    row = writer.think_row(plain_conversation(example), example)
    writer.add_cut(row, example, cut=5)
    (branch,) = row.branches
    assert row.ids[: branch.fork] == row.ids[: row.prompt + 1 + 5]
    begin, end = row.segments()[1]
    assert text_of(form, row, begin, end) == f"{form.stop_text}{example.response}<|im_end|>"
    assert text_of(form, row, begin, end, {0.0}) == form.stop_text
    assert text_of(form, row, begin, end, {4.0}) == example.problem.answer


def test_only_the_last_boxs_inside_weighs_more(form: ThinkingFormat, example: Example) -> None:
    writer = ReplyWriter(form, answer_weight=4.0)
    for response, heavy in [("It is \\boxed{1}, no, \\boxed{{2}+3}. {4}", "{2}+3"), ("It is 2.", "")]:
        replied = replace(example, response=response)
        row = writer.no_think_row(plain_conversation(example, thinks=False), replied)
        assert text_of(form, row, 0, len(row.ids), {4.0}) == heavy


def test_the_empty_block_is_trained_for_the_soft_switch_only(form: ThinkingFormat, example: Example) -> None:
    writer = ReplyWriter(form)
    soft = Conversation([{"role": "user", "content": "1+1 /no_think"}], True, False, True)
    row = writer.no_think_row(soft, example)
    assert text_of(form, row, 0, len(row.ids), {1.0}).startswith("<think>\n\n</think>\n\nThe answer is")
    row = writer.no_think_row(plain_conversation(example, thinks=False), example)
    assert text_of(form, row, 0, len(row.ids), {1.0}).startswith("The answer is")
    assert text_of(form, row, 0, row.prompt).endswith("<think>\n\n</think>\n\n")


def test_branches_score_as_if_they_stood_alone(form: ThinkingFormat) -> None:
    model = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL, dtype=torch.float32).eval()
    rows = drawn(fusion_source(form), 6)
    with torch.no_grad():
        together = forward(model, make_batch([[row] for row in rows], pad=0))
        compared = 0
        for index, row in enumerate(rows):
            for branch, (begin, end) in zip(row.branches, row.segments()[1:], strict=True):
                alone = torch.tensor([row.ids[: branch.fork] + row.ids[begin:end]])
                expected = model(input_ids=alone).logits[0, branch.fork :]
                torch.testing.assert_close(together[index, begin:end], expected, atol=1e-3, rtol=1e-3)
                compared += 1
    assert compared >= 6


def test_cuts_fall_inside_the_thinking_and_late_ones_in_its_last_lines(form: ThinkingFormat) -> None:
    mix = RowMix(think=1, no_think=0, cuts=1, late_cuts=1.0, evenly_cut=["highest", "lowest", "majority"])
    source = fusion_source(form, mix)
    early = {"chain": 0, "race": 0}
    for index in range(150):
        row = source.at(index)
        assert isinstance(row, Row)
        begin, end = source.writer.thinking_span(row)
        (branch,) = row.branches
        assert begin < branch.fork < end
        left = text_of(form, row, branch.fork, end).count("\n")
        is_chain = source.examples.at(index).problem.subject not in mix.evenly_cut
        early["chain" if is_chain else "race"] += left > 2
    assert early["chain"] == 0
    assert early["race"] > 0


@given(seed=st.integers(0, 10**6), thinks=st.booleans(), in_system=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_the_last_flag_asks_for_the_mode_that_is_trained(seed: int, thinks: bool, in_system: float) -> None:
    rng = random.Random(seed)
    items = [thinkmath.draw(rng, "train", 1) for _ in range(2)]
    example, earlier = (Example(item.problem, item.trace, "It is.") for item in items)
    conversation = draw_conversation(rng, example, thinks, 0.5, in_system, 0.7, ["Be brief."], earlier, 0.5)
    texts = [message["content"] for message in conversation.messages if message["role"] != "assistant"]
    flags = [word for text in texts for word in text.split() if word in ("/think", "/no_think")]
    assert conversation.thinks == thinks
    assert conversation.messages[-1]["role"] == "user"
    assert example.problem.problem in conversation.messages[-1]["content"]
    if conversation.enable_thinking:
        assert thinks == (flags[-1:] != ["/no_think"])
    else:
        assert not thinks
    assert conversation.soft_no_think == (not thinks and conversation.enable_thinking)


def test_conversations_come_in_every_form() -> None:
    rng = random.Random(0)
    seen = set()
    for _ in range(2_000):
        thinks = rng.random() < 0.5
        item = thinkmath.draw(rng, "train", 1)
        example = Example(item.problem, item.trace, "It is.")
        conversation = draw_conversation(rng, example, thinks, 0.5, 0.3, 0.5, (), example, 0.5)
        roles = [m["role"][0] for m in conversation.messages]
        flags = [
            f"{m['role'][0]}{word}"
            for m in conversation.messages
            for word in m["content"].split()
            if word.startswith("/")
        ]
        seen.add((thinks, conversation.enable_thinking, "".join(roles), tuple(flags)))
    assert {
        (True, True, "u", ()),
        (True, True, "uau", ("u/no_think", "u/think")),
        (False, True, "uau", ("u/think", "u/no_think")),
        (False, True, "su", ("s/no_think",)),
        (True, True, "su", ("s/no_think", "u/think")),
        (False, True, "su", ("s/think", "u/no_think")),
        (True, True, "suau", ("s/no_think", "u/think")),
        (False, False, "u", ()),
    } <= seen


def test_history_has_no_thinking(form: ThinkingFormat) -> None:
    for row in drawn(fusion_source(form), 100):
        history = text_of(form, row, 0, row.prompt).removesuffix("<think>\n\n</think>\n\n")
        assert form.open not in history
        assert form.close not in history


def test_rows_are_functions_of_seed_stage_and_index(form: ThinkingFormat) -> None:
    forwards = [fusion_source(form).at(index) for index in range(20)]
    source = fusion_source(form)
    assert [source.at(index) for index in reversed(range(20))] == forwards[::-1]
    assert [fusion_source(form, seed=1).at(index) for index in range(20)] != forwards


def test_no_think_levels_are_drawn_by_weight(form: ThinkingFormat) -> None:
    mix = RowMix(think=0, no_think=1, no_think_levels={1: 3, 2: 1}, multi_turn=0)
    source = fusion_source(form, mix)
    levels = []
    for row in drawn(source, 300):
        # Chains list their steps, of which level 1 has one and level 2 has two.
        assert row.conversation is not None
        question = row.conversation.messages[-1]["content"]
        if "start with" in question:
            levels.append(question.count(","))
    assert set(levels) == {1, 2}
    assert 0.55 < levels.count(1) / len(levels) < 0.92
    with pytest.raises(ValueError, match="no_think_levels"):
        fusion_source(form, mix.model_copy(update={"no_think_levels": {9: 1.0}})).at(0)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"thinking": None}, "without a worked reply"),
        ({"response": None}, "without a worked reply"),
        ({"thinking": "so <think> again"}, "with a thinking tag inside the reply"),
        ({"thinking": "9 " * 300}, "longer than max_length"),
    ],
)
def test_what_cannot_be_trained_on_is_left_out_with_its_reason(
    form: ThinkingFormat, example: Example, members: dict[str, str | None], reason: str
) -> None:
    class One:
        size: int | None = 1

        def at(self, index: int) -> Example:
            return replace(example, **members)

    stage = ColdStart(optimizer=OPTIMIZER, tokens=1, batch_tokens=1, max_length=200)
    assert RowSource(stage, 0, form, ExampleStream([One()], [1.0], 0)).at(0) == reason
