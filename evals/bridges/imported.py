"""Replies that another harness drew, as its files tell them; what a file does not tell is None."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.budgets import EFFORTS, Budget
from evals.problems import Problem

OPEN, CLOSE = "<think>", "</think>"
_LIMITS = (
    "thinking_token_budget",
    "thinking_budget",
    "thinking_budget_tokens",
    "reasoning_budget_tokens",
    "reasoning_tokens",
)


@dataclass(frozen=True, slots=True)
class ImportedReply:
    """One reply.

    where: FILE:LINE or the like, for messages. thinking: None where the file does not separate it from
    `answer`. budget: what the file says was asked, None if it says nothing. score: in [0, 1].
    """

    problem: Problem
    answer: str
    where: str
    thinking: str | None = None
    budget: Budget | None = None
    score: float | None = None
    finish_reason: str | None = None
    stop_cause: str | None = None
    thinking_tokens: int | None = None
    answer_tokens: int | None = None
    generated_tokens: int | None = None
    prompt_tokens: int | None = None
    seconds: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """A file of replies.

    source: the harness, with version where known. metrics: what `score` is, by task. sampling: as told.
    failed: samples that hold no reply, in words.
    """

    path: Path
    source: str
    model: str | None
    replies: list[ImportedReply]
    metrics: dict[str, str] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


def split_thinking(texts: list[str]) -> list[tuple[str | None, str, bool]]:
    """(thinking, answer, unfinished) of the raw replies of one file.

    Where the prompt opened the thinking, replies hold the closing tag alone. If one of a file does, a reply
    without it never stopped thinking: all of it is thinking and there is no answer. A file without any tag
    tells nothing of thinking: that is None, and the whole reply is the answer.
    """
    opened_by_prompt = any(CLOSE in text and OPEN not in text.partition(CLOSE)[0] for text in texts)
    return [_split(text, opened_by_prompt) for text in texts]


def _split(text: str, opened_by_prompt: bool) -> tuple[str | None, str, bool]:
    if CLOSE in text:
        thinking, _, answer = text.rpartition(CLOSE)
        return thinking.strip().removeprefix(OPEN).strip(), answer, False
    if opened_by_prompt or text.lstrip().startswith(OPEN):
        return text.strip().removeprefix(OPEN).strip(), "", True
    return None, text, False


def asked_budget(settings: Mapping[str, Any], where: str) -> Budget | None:
    """The budget among the generation settings of a request, in the words of the servers that
    `evals.sweep.dialects` knows, of Seed-OSS's and DeepSeek's templates and of Anthropic; None for none.

    Raises ValueError for a value that is no budget.
    """
    told = dict(settings)
    for name in ("extra_body", "custom_params", "chat_template_kwargs"):
        inner = told.get(name) or {}
        if not isinstance(inner, dict):
            raise ValueError(f"{where}: {name} is {inner!r:.80}; expected an object")
        told = inner | told
    thinking = told["thinking"] if isinstance(told.get("thinking"), dict) else {}
    reasoning = told["reasoning"] if isinstance(told.get("reasoning"), dict) else {}
    limits = {name: told.get(name) for name in _LIMITS}
    limits |= {f"thinking.{name}": thinking.get(name) for name in ("budget", "budget_tokens")}
    limits["reasoning.max_tokens"] = reasoning.get("max_tokens")
    for name, value in limits.items():
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < -1:
                raise ValueError(f"{where}: {name} is {value!r}; expected a number of tokens, or -1")
            return "max" if value == -1 else value
    if False in (told.get("enable_thinking"), told.get("thinking"), reasoning.get("enabled")):
        return 0
    effort = told.get("reasoning_effort") or reasoning.get("effort")
    if effort is not None:
        if effort not in EFFORTS:
            raise ValueError(f"{where}: reasoning_effort is {effort!r}; known are {', '.join(EFFORTS)}")
        return str(effort)
    return None


def member(row: dict[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A member of a JSON object. Raises ValueError, naming the place, if it is absent or of another type."""
    if name not in row:
        raise ValueError(f"{where}: member {name!r} is missing; it has {', '.join(sorted(row)) or 'none'}")
    if not isinstance(row[name], kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        expected = " or ".join(k.__name__ for k in kinds)
        raise ValueError(f"{where}: member {name!r} is {row[name]!r:.80}; expected {expected}")
    return row[name]


def label(row: Mapping[str, Any], *names: str) -> str | int | None:
    """The first of some members that can label a problem: a string or a whole number."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool):
            return value
    return None


def subject(row: Mapping[str, Any], *names: str) -> str | None:
    """The first of some members that can label a problem, as text."""
    found = label(row, *names)
    return None if found is None else str(found)
