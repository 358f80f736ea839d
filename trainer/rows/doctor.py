"""Diagnoses of what a stage will train on: mistakes in templates, tokenizers and rows, each by its name.

Think templates and loss masks are what training of thinking models fails by, silently: a model trained on
prompts that serving never produces, or on text it should not write, only shows it in its replies.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.formats import FORMAT_FILE, KNOWN_TAGS, ThinkingFormat
from serve.templates import source
from trainer.rows.conversation import Conversation, render
from trainer.rows.replies import ReplyWriter
from trainer.rows.row import Row

QUESTION = [{"role": "user", "content": "1 + 1?"}]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong. code: its name. row: the number of the row it was found in, None for the model."""

    code: str
    message: str
    row: int | None = None


def check_tags(tokenizer: Any, folder: Path | None = None) -> list[Finding]:
    """Thinking tags that the template or the format file names and that are not one token each."""
    tags: list[str] = []
    if folder is not None and (folder / FORMAT_FILE).is_file():
        known = json.loads((folder / FORMAT_FILE).read_text(encoding="utf-8"))
        tags = [known[name] for name in ("open", "close") if name in known]
    text = source(tokenizer)
    tags = tags or next((list(pair) for pair in KNOWN_TAGS if pair[1] in text), [])
    pieces = {tag: tokenizer.tokenize(tag) for tag in tags}
    return [
        Finding(
            "split-tag",
            f"the tag {tag!r} is {len(tokens)} tokens {tokens}, so no budget can be exact; add it to the "
            "tokenizer's added tokens",
        )
        for tag, tokens in pieces.items()
        if len(tokens) != 1
    ]


def check_template(form: ThinkingFormat, folder: Path | None = None) -> list[Finding]:
    """What the chat template does with thinking, turns and their ends."""
    findings = []
    if form.template.earlier_turns == "kept":
        findings.append(
            Finding(
                "history-keeps-thinking",
                "the chat template renders earlier turns with their thinking; rows have none there, as with "
                "Qwen3's template, so multi-turn replies would see what they never saw in training",
            )
        )
    try:
        end = ReplyWriter(form).end_of_turn
    except ValueError as error:
        return [*findings, Finding("no-end-of-turn", str(error))]
    end_id = form.tokenizer.convert_tokens_to_ids(end)
    stops = _stop_ids(form, folder)
    if end_id not in stops:
        findings.append(
            Finding(
                "end-of-turn-not-a-stop",
                f"replies are trained to end with {end!r} ({end_id}), but generation stops at "
                f"{sorted(stops)}: they would run on; name it in generation_config.json's eos_token_id",
            )
        )
    return findings + _check_empty_block(form)


def check_row(row: Row, number: int, writer: ReplyWriter) -> list[Finding]:
    """Everything that can be wrong with one row."""
    return [Finding(code, message, number) for code, message in _row_problems(row, writer)]


def check_left_out(reasons: Sequence[str], drawn: int) -> list[Finding]:
    """Rows that cannot be trained on. reasons: why, one for each of them, of `drawn` rows."""
    return [
        Finding("left-out", f"{reasons.count(reason)} of {drawn} rows are left out: {reason}")
        for reason in sorted(set(reasons))
    ]


def _check_empty_block(form: ThinkingFormat) -> list[Finding]:
    """The hard switch must leave a prompt that has closed its thinking."""
    off = render(form, QUESTION, thinking=False)
    if form.close_id in off[-len(form.empty_block_ids) - 2 :]:
        return []
    return [
        Finding(
            "empty-block-missing",
            "with thinking switched off the prompt ends in "
            f"{form.tokenizer.decode(off[-8:])!r}, without an empty block: the model must guess the mode",
        )
    ]


def _row_problems(row: Row, writer: ReplyWriter) -> Iterator[tuple[str, str]]:
    form = writer.form
    yield from _prompt_problems(row, form)
    if not any(row.weights):
        yield "nothing-trained", "no token of the row carries loss"
    unknown = form.tokenizer.unk_token_id
    if unknown is not None and unknown in row.ids:
        place = row.ids.index(unknown)
        before = form.tokenizer.decode(row.ids[max(0, place - 8) : place])
        yield "unknown-token", f"token {place}, after {before!r}, is unknown to the tokenizer"
    end_id = form.tokenizer.convert_tokens_to_ids(writer.end_of_turn)
    for name, (begin, end) in zip(_names(row), row.segments(), strict=True):
        if row.ids[end - 1] != end_id:
            text = form.tokenizer.decode(row.ids[max(begin, end - 6) : end])
            yield (
                "truncated",
                f"{name} ends in {text!r}, not with the end-of-turn token {writer.end_of_turn!r}",
            )
        elif row.weights[end - 1] == 0:
            yield (
                "end-of-turn-not-trained",
                f"{name}'s end-of-turn token carries no loss: replies would not end",
            )
    if row.kind == "no_think":
        yield from _empty_block_problems(row, form)
    elif form.close_id not in row.ids[row.prompt : row.segments()[0][1]]:
        yield "thinking-not-closed", f"the thinking reply has no {form.close!r}"
    for branch, (begin, end) in zip(row.branches, row.segments()[1:], strict=True):
        given = tuple(row.ids[begin : begin + branch.given])
        if branch.kind == "cut" and given != form.stop_ids:
            yield (
                "early-stop-text",
                f"a cut is followed by {form.tokenizer.decode(list(given))!r}, not the stop text",
            )
        if any(row.weights[begin : min(end, begin + max(branch.given, 1))]):
            yield "inserted-trained", f"text that is inserted in a {branch.kind} branch carries loss"


def _prompt_problems(row: Row, form: ThinkingFormat) -> Iterator[tuple[str, str]]:
    prompt = row.ids[: row.prompt]
    served = prompt if row.conversation is None else served_prompt(form, row.conversation)
    if prompt != served:
        place = next(
            (at for at, pair in enumerate(zip(prompt, served, strict=False)) if pair[0] != pair[1]),
            min(len(prompt), len(served)),
        )
        trained_text = form.tokenizer.decode(prompt[place : place + 8])
        served_text = form.tokenizer.decode(served[place : place + 8])
        yield (
            "prompt-differs",
            f"from token {place} on the prompt is {trained_text!r} where the server has {served_text!r}",
        )
    start = form.tokenizer.bos_token_id
    if start is not None and list(prompt[:2]) == [start, start]:
        yield "double-bos", "the prompt begins with two begin-of-sequence tokens"
    if any(row.weights[: row.prompt]):
        yield "prompt-trained", "tokens of the prompt carry loss"
    if form.close_id in prompt[: -len(form.empty_block_ids) - 1]:
        yield "history-keeps-thinking", "an earlier turn stands in the prompt with its thinking"


def _empty_block_problems(row: Row, form: ThinkingFormat) -> Iterator[tuple[str, str]]:
    block = form.close_block_ids if form.opened_by == "template" else form.empty_block_ids
    reply = tuple(row.ids[row.prompt : row.prompt + len(block)])
    weights = row.weights[row.prompt : row.prompt + len(block)]
    if row.conversation is not None and row.conversation.soft_no_think:
        if reply != block:
            yield (
                "empty-block-missing",
                "behind the soft switch the reply does not begin with the empty block",
            )
        elif not all(weights):
            yield "empty-block-not-trained", "behind the soft switch the empty block is the model's to write"
    elif reply == block and any(weights):
        yield (
            "empty-block-trained",
            "behind the hard switch the empty block is the template's, yet it has loss",
        )


def served_prompt(form: ThinkingFormat, conversation: Conversation) -> list[int]:
    """The prompt as the server makes it: the template's text, encoded without adding special tokens."""
    kwargs = form.template_kwargs(conversation.enable_thinking)
    text = form.tokenizer.apply_chat_template(
        conversation.messages, add_generation_prompt=True, tokenize=False, **kwargs
    )
    ids = list(form.encode(text))
    if conversation.enable_thinking or form.template.switch is not None:
        return ids
    block = form.close_block_ids if form.opened_by == "template" else form.empty_block_ids
    return [*ids, *block]


def _stop_ids(form: ThinkingFormat, folder: Path | None) -> set[int]:
    ids = {form.tokenizer.eos_token_id} - {None}
    if folder is not None and (folder / "generation_config.json").is_file():
        config = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        ends = config.get("eos_token_id")
        ids |= set(ends if isinstance(ends, list) else [ends] if ends is not None else [])
    return ids


def _names(row: Row) -> list[str]:
    return ["the reply", *(f"the {branch.kind} branch" for branch in row.branches)]
