"""The doctor: rows as they are shown, and each diagnosis provoked by a broken template, tokenizer or row."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from evals.problems import thinkmath
from serve import DEFAULT_MODEL
from serve.formats import ThinkingFormat, load_format
from trainer.cli import main
from trainer.examples import Example
from trainer.rows.conversation import Conversation, plain_conversation
from trainer.rows.doctor import check_left_out, check_row, check_tags, check_template
from trainer.rows.replies import ReplyWriter
from trainer.rows.row import Row
from trainer.rows.show import show_row

SOFT = Conversation([{"role": "user", "content": "1+1 /no_think"}], True, False, True)


def fresh_tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def writer() -> ReplyWriter:
    return ReplyWriter(load_format(fresh_tokenizer(), DEFAULT_MODEL), answer_weight=3.0)


@pytest.fixture(scope="module")
def example() -> Example:
    item = thinkmath.draw(random.Random(3), "train", 2, "chain")
    return Example(item.problem, item.trace, f"The answer is \\boxed{{{item.problem.answer}}}.")


def tree(writer: ReplyWriter, example: Example) -> Row:
    conversation = plain_conversation(example)
    row = writer.think_row(conversation, example)
    writer.add_cut(row, example, 4)
    writer.add_no_think(row, conversation, example)
    return row


def codes(row: Row, writer: ReplyWriter) -> set[str]:
    return {finding.code for finding in check_row(row, 0, writer)}


def test_healthy_rows_and_templates_have_no_findings(writer: ReplyWriter, example: Example) -> None:
    hard = plain_conversation(example, thinks=False)
    for row in (
        tree(writer, example),
        writer.no_think_row(SOFT, example),
        writer.no_think_row(hard, example),
    ):
        assert check_row(row, 0, writer) == []
    assert check_tags(writer.form.tokenizer, DEFAULT_MODEL) == []
    assert check_template(writer.form, DEFAULT_MODEL) == []


def test_a_row_is_shown_token_by_token(writer: ReplyWriter, example: Example) -> None:
    shown = show_row(tree(writer, example), writer.form, colours=False).splitlines()
    assert shown[0].startswith("think row")
    assert shown[1].split()[0] == "prompt"
    assert shown[2].split()[0] == "trained×1"
    assert "<think>·⏎·" in shown[2]
    assert shown[3].startswith("cut branch")
    assert "forks at token" in shown[3]
    assert shown[4].split()[0] == "inserted"
    assert "Considering·" in shown[4]
    assert shown[6].split() == ["trained×3", "1", example.problem.answer]
    assert any(line.startswith("no_think branch") for line in shown)
    coloured = show_row(tree(writer, example), writer.form, colours=True)
    assert "\x1b[32m" in coloured
    assert "\x1b[33m" in coloured


def train_prompt(row: Row) -> None:
    row.weights[3] = 1.0


def train_nothing(row: Row) -> None:
    row.weights[:] = [0.0] * len(row.weights)


def train_inserted(row: Row) -> None:
    row.weights[row.branches[0].start + 2] = 1.0


def change_stop_text(row: Row) -> None:
    row.ids[row.branches[0].start + 2] += 1


def forget_the_end(row: Row) -> None:
    row.weights[row.segments()[0][1] - 1] = 0.0


def truncate(row: Row) -> None:
    del row.ids[-3:], row.weights[-3:]


def change_prompt(row: Row) -> None:
    row.ids[5] += 1


@pytest.mark.parametrize(
    ("breaks", "code"),
    [
        (train_prompt, "prompt-trained"),
        (train_nothing, "nothing-trained"),
        (train_inserted, "inserted-trained"),
        (change_stop_text, "early-stop-text"),
        (forget_the_end, "end-of-turn-not-trained"),
        (truncate, "truncated"),
        (change_prompt, "prompt-differs"),
    ],
)
def test_broken_rows_are_diagnosed(
    writer: ReplyWriter, example: Example, breaks: Callable[[Row], None], code: str
) -> None:
    row = tree(writer, example)
    breaks(row)
    assert code in codes(row, writer)


def test_thinking_that_never_closes_is_diagnosed(writer: ReplyWriter, example: Example) -> None:
    row = tree(writer, example)
    row.ids[row.ids.index(writer.form.close_id)] = writer.form.encode("1")[0]
    assert codes(row, writer) == {"thinking-not-closed"}


def test_wrong_empty_blocks_are_diagnosed(writer: ReplyWriter, example: Example) -> None:
    soft = writer.no_think_row(SOFT, example)
    block = len(writer.form.empty_block_ids)
    masked = Row(
        soft.ids,
        [*[0.0] * (soft.prompt + block), *soft.weights[soft.prompt + block :]],
        soft.prompt,
        soft.kind,
        SOFT,
    )
    assert codes(masked, writer) == {"empty-block-not-trained"}
    missing = Row(
        soft.ids[: soft.prompt] + soft.ids[soft.prompt + block :],
        soft.weights[: soft.prompt] + soft.weights[soft.prompt + block :],
        soft.prompt,
        soft.kind,
        SOFT,
    )
    assert codes(missing, writer) == {"empty-block-missing"}
    hard = plain_conversation(example, thinks=False)
    right = writer.no_think_row(hard, example)
    # The template's block counted as the reply's, and trained.
    start = right.prompt - block
    doubled = Row(
        right.ids,
        [*right.weights[:start], *[1.0] * block, *right.weights[right.prompt :]],
        start,
        right.kind,
        hard,
    )
    assert {"empty-block-trained", "prompt-differs"} <= codes(doubled, writer)


def broken_form(old: str, new: str) -> ThinkingFormat:
    tokenizer = fresh_tokenizer()
    assert old in tokenizer.chat_template
    tokenizer.chat_template = tokenizer.chat_template.replace(old, new)
    return load_format(tokenizer, DEFAULT_MODEL)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("{%- set content = content.split('</think>')[-1].lstrip('\\n') %}", "", "history-keeps-thinking"),
        ("{{- '<think>\\n\\n</think>\\n\\n' }}", "{{- 'Answer at once: ' }}", "empty-block-missing"),
        (
            "{{- '<|im_end|>\\n' }}\n    {%- elif message.role == \"tool\" %}",
            "{{- '\\n' }}\n    {%- elif message.role == \"tool\" %}",
            "no-end-of-turn",
        ),
        (
            "{{- '<|im_end|>\\n' }}\n    {%- elif message.role == \"tool\" %}",
            "{{- '<|endoftext|>' }}\n    {%- elif message.role == \"tool\" %}",
            "end-of-turn-not-a-stop",
        ),
    ],
)
def test_broken_templates_are_diagnosed(old: str, new: str, code: str) -> None:
    found = {finding.code for finding in check_template(broken_form(old, new), DEFAULT_MODEL)}
    assert code in found


def test_a_split_tag_is_diagnosed(tmp_path: Path) -> None:
    tokenizer = fresh_tokenizer()
    (tmp_path / "thinking_format.json").write_text('{"open": "<thought>", "close": "</think>"}', "utf-8")
    (finding,) = check_tags(tokenizer, tmp_path)
    assert finding.code == "split-tag"
    assert "'<thought>'" in finding.message


def word_tokenizer(bos: bool) -> PreTrainedTokenizerFast:
    """Knows only a few words, and has a begin-of-sequence token that its template writes."""
    words = ["[UNK]", "<s>", "</s>", "<think>", "</think>", "user", "one", "two", "The", "SO-IT-IS"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        bos_token="<s>",
        eos_token="</s>",
        chat_template="{{ '<s> <s> ' if doubled else '<s> ' }}{% for m in messages %}{{ m.content }}"
        "{{ '</s>' if m.role == 'assistant' else ' ' }}{% endfor %}".replace("doubled", str(bos).lower()),
    )
    fast.add_tokens(["<think>", "</think>"])
    return fast


def test_thinking_in_earlier_turns_is_diagnosed(writer: ReplyWriter, example: Example) -> None:
    tokenizer = fresh_tokenizer()
    tokenizer.chat_template = (
        "{%- for m in messages %}"
        "{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
        "{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
    )
    keeping = ReplyWriter(load_format(tokenizer, DEFAULT_MODEL))
    messages = [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "<think>\n1+1=2\n</think>\n\nIt is 2."},
        {"role": "user", "content": "2+2?"},
    ]
    conversation = Conversation(messages, True, True, False)
    assert codes(keeping.think_row(conversation, example), keeping) == {"history-keeps-thinking"}
    assert codes(writer.think_row(conversation, example), writer) == set()


def test_unknown_tokens_and_a_double_beginning_are_diagnosed() -> None:
    form = load_format(word_tokenizer(bos=True), open="<think>", close="</think>", stop_text="two </think>")
    writer = ReplyWriter(form)
    item = thinkmath.draw(random.Random(0), "train", 1)
    strange = Example(item.problem, "never seen", "The two")
    row = writer.think_row(Conversation([{"role": "user", "content": "one"}], True, True, False), strange)
    assert {"unknown-token", "double-bos"} <= codes(row, writer)


def test_rows_left_out_are_counted() -> None:
    (finding,) = check_left_out(["longer than max_length"] * 3, 200)
    assert finding.code == "left-out"
    assert finding.message.startswith("3 of 200 rows")


def test_the_command_shows_all_kinds_of_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.replace("MODEL", str(DEFAULT_MODEL)), "utf-8")
    assert main(["doctor", str(recipe), "--rows", "1", "--out", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    for text in (
        "== cold_start",
        "== fusion",
        "== general_rl",
        "-- rollout 0 with a budget of 6",
        "inserted",
    ):
        assert text in shown
    assert shown.endswith("nothing wrong found\n")
    arguments = ["doctor", str(recipe), "--stage", "cold_start", "--set", "stages.cold_start.max_length=60"]
    assert main(arguments) == 1
    assert "left-out" in capsys.readouterr().out
    assert main(["doctor", str(recipe), "--stage", "nothing"]) == 2


RECIPE = """
model.path = "MODEL"
[[stages]]
kind = "cold_start"
tokens = 1000
batch_tokens = 1000
optimizer.adamw_lr = 0.001
[[stages]]
kind = "fusion"
tokens = 1000
batch_tokens = 1000
optimizer.adamw_lr = 0.001
mix.cuts = 1
[[stages]]
kind = "general_rl"
steps = 1
prompts_per_step = 1
group_size = 2
optimizer.adamw_lr = 0.001
rollouts = { backend = "transformers", max_tokens = 60 }
budget = { mode = "uniform", low = 4, high = 8 }
"""
