"""The wire format without I/O: request bodies, response parsing, stream assembly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from clients.errors import parse_error
from clients.types import (
    AnswerDelta,
    APIError,
    ChatOptions,
    Choice,
    Entropy,
    EntropyDelta,
    Messages,
    Reply,
    SamplingOptions,
    ThinkingDelta,
    ThinkingFormat,
    ThinkingReport,
    TokenLogprob,
    Usage,
)

THINKING_ID = "x-thinking-id"
"""Header of a request or a response: the id by which its thinking can be stopped."""

UNKNOWN_LOGPROB = -9999.0
"""What vLLM writes where a token has no log probability: JSON has no minus infinity."""

Delta = EntropyDelta | ThinkingDelta | AnswerDelta

_THINKING = ("budget", "stop_text", "effort", "target_accuracy", "max_cost", "family")
_PASSED_ON = ("model", "n", "temperature", "top_p", "top_k", "max_tokens", "seed", "stop")


def api_root(base_url: str) -> str:
    """The server's root without a trailing slash or /v1.

    ValueError if it is not an http(s) URL, or holds what should be secret: URLs are written into logs and run
    stores.
    """
    if not base_url.startswith(("http://", "https://")):
        raise ValueError(f"base_url is {base_url!r}; it must start with http:// or https://")
    parts = urlsplit(base_url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        # Not quoted here, for the same reason.
        raise ValueError(
            "base_url holds a user, a password, a query or a fragment; give the root of the server, and its "
            "key apart"
        )
    return base_url.rstrip("/").removesuffix("/v1").rstrip("/")


def auth_headers(api_key: str | None) -> dict[str, str]:
    """The header that carries a key; none without. ValueError, which does not tell it, for what is no key."""
    if not api_key:
        return {}
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ValueError(
            "api_key has white space or characters outside ASCII; no header can hold it, give the key alone"
        )
    return {"authorization": f"Bearer {api_key}"}


def chat_body(messages: Messages, options: ChatOptions, model: str, *, stream: bool) -> dict[str, Any]:
    """Body of POST /v1/chat/completions. TypeError on an unknown option, as for any keyword argument."""
    turns = (
        [{"role": "user", "content": messages}] if isinstance(messages, str) else [dict(m) for m in messages]
    )
    enable_thinking = options.get("enable_thinking")
    template = (
        {} if enable_thinking is None else {"chat_template_kwargs": {"enable_thinking": enable_thinking}}
    )
    logprobs = options.get("logprobs")
    alternatives = {} if logprobs is None else {"logprobs": True, "top_logprobs": logprobs}
    return _body({"messages": turns, **template, **alternatives}, options, ChatOptions, model, stream)


def completion_body(prompt: str | list[int], options: SamplingOptions, model: str) -> dict[str, Any]:
    """Body of POST /v1/completions; the prompt is text or token ids. TypeError on an unknown option."""
    logprobs = options.get("logprobs")
    alternatives = {} if logprobs is None else {"logprobs": logprobs}
    return _body({"prompt": prompt, **alternatives}, options, SamplingOptions, model, stream=False)


def _body(
    start: dict[str, Any], options: ChatOptions | SamplingOptions, allowed: type, model: str, stream: bool
) -> dict[str, Any]:
    unknown = set(options) - set(allowed.__annotations__) - set(SamplingOptions.__annotations__)
    if unknown:
        raise TypeError(f"unknown options {sorted(unknown)}")
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    body = start | {"model": model} | {key: given[key] for key in _PASSED_ON if key in given}
    thinking = {key: given[key] for key in _THINKING if key in given}
    twice = sorted(set(thinking) & set(given.get("thinking", {})))
    if twice:
        raise ValueError(f"{twice[0]} is given both by name and in thinking; it must be given once")
    if thinking or "thinking" in given:
        body["thinking"] = {**given.get("thinking", {}), **thinking}
    if given.get("return_token_ids"):
        body["return_token_ids"] = True
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    for key, value in given.get("extra", {}).items():
        both_objects = isinstance(value, Mapping) and isinstance(body.get(key), Mapping)
        body[key] = {**body[key], **value} if both_objects else value
    return body


def headers(options: SamplingOptions) -> dict[str, str]:
    """What the options ask by header."""
    thinking_id = options.get("thinking_id")
    return {} if thinking_id is None else {THINKING_ID: thinking_id}


def stop_path(thinking_id: str) -> str:
    """Path of the route that ends the thinking of a running request."""
    return f"/v1/thinking/{quote(thinking_id, safe='')}/stop"


def parse_models(payload: Mapping[str, Any]) -> list[str]:
    """Model names of GET /v1/models, in the server's order."""
    return [entry["id"] for entry in payload["data"]]


def parse_stopping(payload: Mapping[str, Any]) -> int:
    """POST /v1/thinking/{id}/stop: how many choices were still thinking."""
    return payload["stopping"]


def parse_format(payload: Mapping[str, Any]) -> ThinkingFormat:
    """GET /v1/thinking/format; members this client does not know are left out."""
    return ThinkingFormat(**{name: payload[name] for name in ThinkingFormat.__dataclass_fields__})


def parse_reply(payload: Mapping[str, Any], thinking_id: str | None = None) -> Reply:
    """A whole chat or completion response; APIError if it is none. thinking_id: from its headers."""
    if not isinstance(payload, Mapping) or not payload.get("choices", payload.get("error")):
        raise APIError(200, f"the response has no choices: {json.dumps(payload)[:200]}")
    assembler = StreamAssembler(thinking_id)
    list(assembler.feed(payload, part="message"))
    return assembler.reply()


def parse_report(payload: Mapping[str, Any]) -> ThinkingReport:
    """The report of a finished choice."""
    known = set(ThinkingReport.__dataclass_fields__) - {"extra"}
    members = {name: value for name, value in payload.items() if name in known}
    # A response of one chunk has the id of the request beside the report.
    extra = {name: value for name, value in payload.items() if name not in known and name != "id"}
    if members.get("entropy") is not None:
        columns = {name: members["entropy"].get(name) for name in Entropy.__dataclass_fields__}
        members["entropy"] = Entropy(**columns)
    return ThinkingReport(**members, extra=extra)


def parse_logprobs(payload: Mapping[str, Any]) -> list[TokenLogprob]:
    """The log probabilities of a choice: the chat route's list of objects or the completions route's columns.

    Columns name alternatives by their text, so of several with one text (broken characters) one is left.
    """
    if "content" in payload:
        return [
            TokenLogprob(
                entry["token"],
                _logprob(entry["logprob"]),
                _ranked((other["token"], other["logprob"]) for other in entry.get("top_logprobs") or ()),
            )
            for entry in payload["content"] or ()
        ]
    columns = zip(
        payload["tokens"],
        payload["token_logprobs"],
        payload.get("top_logprobs") or [None] * len(payload["tokens"]),
        strict=True,
    )
    return [
        TokenLogprob(token, _logprob(value), _ranked((top or {}).items())) for token, value, top in columns
    ]


def _logprob(value: float | None) -> float | None:
    return None if value is None or value <= UNKNOWN_LOGPROB else value


def _ranked(pairs: Iterable[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    known = ((token, value) for token, value in pairs if _logprob(value) is not None)
    return tuple(sorted(known, key=lambda pair: -pair[1]))


@dataclass(slots=True)
class _PartialChoice:
    thinking: list[str] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    report: ThinkingReport | None = None
    token_ids: list[int] | None = None
    logprobs: list[TokenLogprob] | None = None
    measured: int = 0


def _feed_thinking(told: Mapping[str, Any], choice: _PartialChoice, index: int) -> Iterator[EntropyDelta]:
    """Read the `thinking` of a choice: the report that ends it, or the entropy of a chunk's tokens.

    The last tokens of thinking that ends with the reply are told by the report alone.
    """
    if "stop_cause" in told:
        choice.report = parse_report(told)
        whole = choice.report.entropy
        if whole is not None and whole.texts is not None and len(whole.texts) > choice.measured:
            rest = slice(choice.measured, None)
            upper = None if whole.upper is None else whole.upper[rest]
            yield EntropyDelta(whole.texts[rest], whole.values[rest], whole.margin[rest], upper, index)
    elif "entropy" in told:
        new = told["entropy"]
        choice.measured += len(new["tokens"])
        yield EntropyDelta(new["tokens"], new["entropy"], new["margin"], new.get("upper"), index)


class StreamAssembler:
    """Turns response chunks into deltas, and at the end into the reply they add up to.

    Reads `reasoning`, or `reasoning_content` where it is alone; servers that send both repeat the text.
    """

    def __init__(self, thinking_id: str | None = None) -> None:
        self._thinking_id = thinking_id
        self._id = ""
        self._model = ""
        self._choices: dict[int, _PartialChoice] = {}
        self._usage: Usage | None = None
        self._prompt_token_ids: list[int] | None = None

    def feed(self, chunk: Mapping[str, Any], *, part: str = "delta") -> Iterator[Delta]:
        """Deltas of one chunk. part: the member of a chat choice that holds its text, "delta" or "message".

        Raises APIError if the chunk is an error sent in the middle of a stream.
        """
        if "error" in chunk:
            raise parse_error(_status(chunk["error"]), json.dumps(chunk).encode())
        self._id = chunk.get("id") or self._id
        self._model = chunk.get("model") or self._model
        if chunk.get("prompt_token_ids") is not None:
            self._prompt_token_ids = chunk["prompt_token_ids"]
        counted = None
        if chunk.get("usage") is not None:
            self._usage = _usage(chunk["usage"])
            counted = self._usage.reasoning_tokens
        for data in chunk.get("choices") or ():
            yield from self._feed_choice(data, part, counted)

    def _feed_choice(self, data: Mapping[str, Any], part: str, counted: int | None) -> Iterator[Delta]:
        index = data.get("index", 0)
        choice = self._choices.setdefault(index, _PartialChoice())
        message = data.get(part) or {}
        thinking = message.get("reasoning") or message.get("reasoning_content")
        answer = message.get("content") or data.get("text")
        if isinstance(data.get("thinking"), Mapping):
            yield from _feed_thinking(data["thinking"], choice, index)
        if thinking:
            choice.thinking.append(thinking)
            yield ThinkingDelta(thinking, index, counted)
        if answer:
            choice.answer.append(answer)
            yield AnswerDelta(answer, index)
        if data.get("token_ids") is not None:
            choice.token_ids = (choice.token_ids or []) + data["token_ids"]
        if data.get("logprobs") is not None:
            choice.logprobs = (choice.logprobs or []) + parse_logprobs(data["logprobs"])
        if data.get("prompt_token_ids") is not None:
            self._prompt_token_ids = data["prompt_token_ids"]
        if data.get("finish_reason") is not None:
            choice.finish_reason = data["finish_reason"]

    @property
    def complete(self) -> bool:
        """Whether every choice seen so far has ended."""
        return bool(self._choices) and all(c.finish_reason is not None for c in self._choices.values())

    def reply(self) -> Reply:
        """The reply made of everything fed so far."""
        choices = tuple(
            Choice(
                index=index,
                thinking="".join(choice.thinking),
                answer="".join(choice.answer),
                finish_reason=choice.finish_reason,
                report=choice.report,
                token_ids=choice.token_ids,
                logprobs=choice.logprobs,
            )
            for index, choice in sorted(self._choices.items())
        )
        return Reply(self._id, self._model, choices, self._usage, self._prompt_token_ids, self._thinking_id)


def _usage(data: Mapping[str, Any]) -> Usage:
    details = data.get("completion_tokens_details") or {}
    return Usage(data["prompt_tokens"], data.get("completion_tokens") or 0, details.get("reasoning_tokens"))


def _status(error: Any) -> int:
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 500
