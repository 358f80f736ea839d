"""What a sweep stores: one record for each reply, and one for each request that failed.

The file format is these fields as a JSON object on one line. A record's key is a hash of everything the
reply depends on, so that a resumed sweep knows what it already has.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from types import UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from evals.budgets import Budget
from evals.problems import Problem

Kind = Literal["trace", "fork", "no_think", "direct", "confidence"]


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """What the model thought of each token of a reply, aligned with the tokens the server returned.

    pieces: the text of each token; the thinking and answer of a trace can be cut by token with them.
    chosen: natural log of the probability of each token; None for inserted tokens.
    entropy: of the next-token distribution in nats, a lower bound: the `top` most likely tokens and all
        others as one. rest: the probability of those others. Both None when no alternatives were asked.
    """

    pieces: list[str]
    chosen: list[float | None]
    top: int
    entropy: list[float | None] | None = None
    rest: list[float | None] | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One reply.

    kind: `trace` is an uncut reply and the answer at budget "max"; `fork` an answer from a prefix of a trace;
        `no_think` a reply with thinking off (budget 0); `direct` a reply under the server's own budget, in a
        forked run a second way to the same point; `confidence` how sure the model says it is of the reply
        whose key is `of`, asked in a turn after it.
    thinking_tokens: tokens the model generated between the tags, or kept of the trace by a fork.
    inserted_tokens: tokens of the early-stop text. answer_tokens: tokens after it, end of turn included.
    generated_tokens: tokens decoded for this record alone; a fork's thinking was decoded for its trace.
    stop_cause: as the server reports it; None for servers that do not. seed: None when decoding is greedy.
    Counts are None where the server does not tell them, seconds of some imported replies.
    prompt_token_ids, token_ids: the reply in tokens, where the server gives them; a fork has its answer only.
    trace, cut: for forks, the key of the trace and how many of its token_ids are kept. seconds: wall time.
    prompt_tokens: of the request. endpoint: the base URL that answered. attempts: requests sent until one was
        answered. logprobs: where they were asked; a fork has those of its answer only.
    """

    key: str
    kind: Kind
    problem: str
    level: int | str | None
    subject: str | None
    chance: float | None
    gold: str
    sample: int
    budget: Budget
    stop_cause: str | None
    thinking_tokens: int | None
    inserted_tokens: int | None
    answer_tokens: int | None
    generated_tokens: int | None
    finish_reason: str | None
    seed: int | None
    seconds: float | None
    thinking: str | None
    answer: str
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    trace: str | None = None
    cut: int | None = None
    of: str | None = None
    set: str | None = None
    prompt_tokens: int | None = None
    endpoint: str | None = None
    attempts: int = 1
    logprobs: TokenLogprobs | None = None

    def to_json(self) -> dict[str, Any]:
        # Not `asdict`, which copies lists token by token: tens of milliseconds for a long trace.
        row = _members(self)
        return row if self.logprobs is None else row | {"logprobs": _members(self.logprobs)}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """ValueError or TypeError for a row that is none."""
        _check_types(row, _RECORD_TYPES)
        logprobs = row.get("logprobs")
        return cls(**row) if logprobs is None else cls(**row | {"logprobs": TokenLogprobs(**logprobs)})


@dataclass(frozen=True, slots=True)
class Failure:
    """A request the server refused. It is asked again when the sweep is resumed."""

    key: str
    problem: str
    sample: int
    budget: Budget
    error: str

    def to_json(self) -> dict[str, Any]:
        return {"kind": "failure", **asdict(self)}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """ValueError or TypeError for a row that is none."""
        row = {name: value for name, value in row.items() if name != "kind"}
        _check_types(row, _FAILURE_TYPES)
        return cls(**row)


def _types(value: type) -> dict[str, frozenset[type]]:
    """The types of JSON that each member may have."""
    return {name: frozenset(_allowed(hint)) for name, hint in get_type_hints(value).items()}


def _allowed(hint: Any) -> Iterator[type]:
    if get_origin(hint) is Literal:
        yield from map(type, get_args(hint))
    elif get_origin(hint) in (UnionType, Union):
        yield from (kind for part in get_args(hint) for kind in _allowed(part))
    elif hint is float:
        yield from (float, int)
    else:
        yield dict if hint is TokenLogprobs else get_origin(hint) or hint


_RECORD_TYPES = _types(Record)
_FAILURE_TYPES = _types(Failure)
_LARGEST = 2**63


def _check_types(row: dict[str, Any], types: Mapping[str, frozenset[type]]) -> None:
    """A store is read by whoever gets it: its members are what they should be, and numbers finite."""
    for name, value in row.items():
        kind = type(value)
        if kind not in types.get(name, ()):
            raise ValueError(f"{name} is {value!r:.80}, of no type that it may have")
        if (kind is float or kind is int) and not -_LARGEST < value < _LARGEST:
            raise ValueError(f"{name} is {value!r:.80}, no number to count with")


def _members(value: Record | TokenLogprobs) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def content_hash(value: Any) -> str:
    """24 hexadecimal digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def problem_hash(problem: Problem) -> str:
    """Hash of what is asked and what is expected; level, subject and chance may be corrected later."""
    asked = problem.messages or problem.problem
    return content_hash([problem.id, asked, problem.answer])
