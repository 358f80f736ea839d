"""Pairs given as JSONL, rendered as this model is served: its template, its tags, its end of turn."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.jsonl import read_objects
from evals.problems import Problem
from serve.formats import CLOSE, OPEN, ThinkingFormat
from trainer.examples import Example
from trainer.preference.pairs import Pair
from trainer.rows.conversation import NO_THINK, THINK, Conversation
from trainer.rows.replies import ReplyWriter
from trainer.rows.row import Row
from trainer.sources.rows import RowReader

MEMBERS = ("prompt", "messages", "chosen", "rejected", "weight")


def read_pairs(path: Path, form: ThinkingFormat) -> list[tuple[str, Pair]]:
    """The pairs of a file, each with what tells its prompt from others.

    A line has `chosen` and `rejected`, replies as text whose thinking, if any, stands in <think> </think> at
    its beginning; `prompt`, a user turn, or `messages` in OpenAI's form that end in one; and maybe a positive
    `weight`. Both replies think, or neither does: then the prompt asks for none, by the hard switch unless
    its last flag is /no_think.

    Raises:
        ValueError: names the file, the line and what is wrong with it.
    """
    if not path.is_file():
        raise ValueError(f"pairs.path: there is no file {str(path)!r}; give the path of a JSONL file")
    writer, reader = ReplyWriter(form), RowReader(path.stem, {}, (OPEN, CLOSE))
    pairs = [_pair(row, where, reader, writer) for where, row in read_objects(path)]
    if not pairs:
        raise ValueError(f"pairs.path: {path} has no line; give one JSON object a line")
    return pairs


def _pair(row: Mapping[str, Any], where: str, reader: RowReader, writer: ReplyWriter) -> tuple[str, Pair]:
    unknown = sorted(set(row) - set(MEMBERS))
    if unknown:
        raise ValueError(f"{where}: there is no member {unknown[0]!r}; give {', '.join(MEMBERS)}")
    messages = _messages(row, where, reader)
    replies = {name: reader.split(_text(row, name, where), where) for name in ("chosen", "rejected")}
    thinks = {name: thinking is not None for name, (thinking, _) in replies.items()}
    if thinks["chosen"] != thinks["rejected"]:
        one, other = ("chosen", "rejected") if thinks["chosen"] else ("rejected", "chosen")
        raise ValueError(f"{where}: {one} thinks and {other} does not; give thinking in both, or in neither")
    conversation = _conversation(messages, thinks["chosen"])
    weight = row.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
        raise ValueError(f"{where}: weight {weight!r} is wrong; give a positive number")
    chosen, rejected = (
        _row(writer, conversation, thinking, response) for thinking, response in replies.values()
    )
    if chosen.ids == rejected.ids:
        raise ValueError(f"{where}: chosen and rejected are the same reply; leave the line out")
    return json.dumps(messages), Pair(chosen, rejected, float(weight))


def _messages(row: Mapping[str, Any], where: str, reader: RowReader) -> list[dict[str, str]]:
    if ("prompt" in row) == ("messages" in row):
        raise ValueError(f"{where}: give either prompt or messages")
    if "prompt" in row:
        return [{"role": "user", "content": _text(row, "prompt", where)}]
    example = reader.read({"messages": row["messages"], "answer": "-"}, where, 0)
    if example.response is not None:
        raise ValueError(f"{where}: messages end with the assistant's; end them with the user's")
    turns = example.problem.messages or (("user", example.problem.problem),)
    return [{"role": role, "content": text} for role, text in turns]


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: {name} is {value!r}; expected a text")
    return value


def _conversation(messages: list[dict[str, str]], thinks: bool) -> Conversation:
    asked = [turn["content"] for turn in messages if turn["role"] in ("system", "user")]
    flags = [word for text in asked for word in text.split() if word in (THINK, NO_THINK)]
    soft = not thinks and flags[-1:] == [NO_THINK]
    return Conversation(messages, thinks or soft, thinks, soft)


def _row(writer: ReplyWriter, conversation: Conversation, thinking: str | None, response: str) -> Row:
    example = Example(Problem(id="", problem="", answer=""), thinking, response)
    if conversation.thinks:
        return writer.think_row(conversation, example)
    return writer.no_think_row(conversation, example)
