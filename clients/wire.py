"""The wire format without I/O: request bodies, response parsing, server-sent events, stream assembly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from clients.types import (
    AnswerDelta,
    APIError,
    ChatOptions,
    Choice,
    Finished,
    Messages,
    Reply,
    SamplingOptions,
    ThinkingDelta,
    ThinkingFormat,
    ThinkingReport,
    TokenLogprob,
    Usage,
)

DONE = "[DONE]"
THINKING_ID = "x-thinking-id"
"""Header of a request or a response: the id by which its thinking can be stopped."""

UNKNOWN_LOGPROB = -9999.0
"""What vLLM writes where a token has no log probability: JSON has no minus infinity."""

_PASSED_ON = ("model", "n", "temperature", "top_p", "top_k", "max_tokens", "seed", "stop")


def api_root(base_url: str) -> str:
    """The server's root without a trailing slash or /v1; ValueError if it is not an http(s) URL."""
    if not base_url.startswith(("http://", "https://")):
        raise ValueError(f"base_url is {base_url!r}; it must start with http:// or https://")
    return base_url.rstrip("/").removesuffix("/v1").rstrip("/")


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
    thinking = {key: given[key] for key in ("budget", "stop_text") if key in given}
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


def parse_retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3); None if neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def parse_error(status: int, content: bytes, retry_after: float | None = None) -> APIError:
    """The error of a response; a body that is not an OpenAI error is quoted (500 characters)."""
    text = content.decode("utf-8", errors="replace")
    try:
        payload = json.loads(text)
    except ValueError:
        payload = None
    if isinstance(payload, dict):
        error = payload.get("error", payload)
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            return APIError(status, error["message"], error.get("param"), retry_after)
        if isinstance(error, str):
            return APIError(status, error, None, retry_after)
    return APIError(status, text.strip()[:500] or "empty response body", None, retry_after)


def parse_json(status: int, content: bytes) -> Any:
    """The JSON of a response; APIError if it is none, as when base_url is not an OpenAI-compatible server."""
    try:
        return json.loads(content)
    except ValueError:
        raise APIError(status, f"the response is not JSON: {content[:200]!r}") from None


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

    def feed(self, chunk: Mapping[str, Any], *, part: str = "delta") -> Iterator[ThinkingDelta | AnswerDelta]:
        """Deltas of one chunk. part: the member of a chat choice that holds its text, "delta" or "message".

        Raises APIError if the chunk is an error sent in the middle of a stream.
        """
        if "error" in chunk:
            raise parse_error(_status(chunk["error"]), json.dumps(chunk).encode())
        self._id = chunk.get("id") or self._id
        self._model = chunk.get("model") or self._model
        if chunk.get("prompt_token_ids") is not None:
            self._prompt_token_ids = chunk["prompt_token_ids"]
        if chunk.get("usage") is not None:
            self._usage = _usage(chunk["usage"])
        for data in chunk.get("choices") or ():
            yield from self._feed_choice(data, part)

    def _feed_choice(self, data: Mapping[str, Any], part: str) -> Iterator[ThinkingDelta | AnswerDelta]:
        index = data.get("index", 0)
        choice = self._choices.setdefault(index, _PartialChoice())
        message = data.get(part) or {}
        thinking = message.get("reasoning") or message.get("reasoning_content")
        answer = message.get("content") or data.get("text")
        if thinking:
            choice.thinking.append(thinking)
            yield ThinkingDelta(thinking, index)
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
        report = data.get("thinking")
        if isinstance(report, Mapping) and "stop_cause" in report:
            choice.report = parse_report(report)

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


class SSEParser:
    """Incremental parser of server-sent events (WHATWG HTML, section 9.2): bytes in, data of events out.

    Lines may end in LF, CR or CRLF and chunks may end anywhere, even inside a character. An event that is not
    closed by an empty line is not delivered. Field names other than data are skipped.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[str] = []
        self._after_cr = False
        self._first_line = True

    def feed(self, chunk: bytes) -> list[str]:
        """The data of every event that this chunk completes."""
        events: list[str] = []
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return events
        self._after_cr = chunk.endswith(b"\r")
        *lines, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._line += line
            self._end_line(events)
        self._line += rest
        return events

    def _end_line(self, events: list[str]) -> None:
        line = self._line.decode("utf-8")
        self._line.clear()
        if self._first_line:
            line = line.removeprefix("\ufeff")
            self._first_line = False
        if line:
            name, _, value = line.partition(":")
            if name == "data":
                self._data.append(value.removeprefix(" "))
        elif self._data:
            events.append("\n".join(self._data))
            self._data = []


class EventStream:
    """Bytes of a streamed chat response in, client events out: thinking and answer deltas, then Finished.

    thinking_id: from the response's headers.
    """

    def __init__(self, thinking_id: str | None = None) -> None:
        self._parser = SSEParser()
        self._assembler = StreamAssembler(thinking_id)
        self._done = False

    def feed(self, chunk: bytes) -> Iterator[ThinkingDelta | AnswerDelta]:
        """Deltas completed by these bytes. APIError if the server reports an error inside the stream."""
        for data in self._parser.feed(chunk):
            if data == DONE:
                self._done = True
            else:
                yield from self._assembler.feed(parse_json(200, data.encode()))

    def finish(self) -> Finished | None:
        """The final event; None if the bytes ended before the response (no [DONE], an unfinished choice)."""
        if not (self._done or self._assembler.complete):
            return None
        return Finished(self._assembler.reply())
