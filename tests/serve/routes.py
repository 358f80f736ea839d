"""Each generation route in its own words: how a question is asked there, and what its replies hold."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

Json = dict[str, Any]


@dataclass
class Reply:
    """What a reply says, whatever the API. events: the data of its server-sent events, in order."""

    thought: str
    answer: str
    report: Json
    thinking_tokens: int
    first_id: str | None
    header_id: str
    events: list[Json]


@dataclass(frozen=True)
class Api:
    """path: the route. ask: a greedy request. limit: a budget in the API's own words. hide: fields that hide
    the thinking. read: a reply's thought, answer, report, thinking tokens and (streamed) first id."""

    path: str
    ask: Callable[[str, int], Json]
    limit: Callable[[int], Json]
    hide: Json
    read: Callable[[list[Json]], tuple[str, str, Json, int, str | None]]
    streams: bool = True

    def body(self, text: str, stream: bool, max_tokens: int = 128, **more: Any) -> Json:
        body = {**self.ask(text, max_tokens), "temperature": 0, "stream": stream, **more}
        if stream and self.read in (_chat, _completions):
            body.setdefault("stream_options", {"include_usage": True})
        return body

    def reply(self, response: httpx.Response) -> Reply:
        assert response.status_code == 200, response.text
        streamed = response.headers["content-type"].startswith("text/event-stream")
        payloads = sse(response.text) if streamed else [response.json()]
        return Reply(*self.read(payloads), response.headers["x-thinking-id"], payloads)


def sse(text: str) -> list[Json]:
    """Data of server-sent events; checks that named events have the name their data says."""
    found = []
    for event in text.split("\n\n"):
        name, _, data = event.partition("data: ")
        if data.startswith("{"):
            payload = json.loads(data)
            assert "error" not in payload, payload
            assert not name or name == f"event: {payload['type']}\n"
            found.append(payload)
    return found


def _user(text: str) -> list[Json]:
    return [{"role": "user", "content": text}]


def _chat(payloads: list[Json]) -> tuple[str, str, Json, int, str | None]:
    thought = answer = ""
    report: Json = {}
    first_id = None
    tokens = -1
    for payload in payloads:
        for choice in payload["choices"]:
            message = choice.get("delta") or choice.get("message") or {}
            assert message.get("reasoning") == message.get("reasoning_content")
            thought += message.get("reasoning") or ""
            answer += message.get("content") or ""
            first_id = choice.get("thinking", {}).get("id") or first_id
            if choice["finish_reason"] is not None:
                report = choice["thinking"]
        if payload.get("usage"):
            tokens = payload["usage"]["completion_tokens_details"]["reasoning_tokens"]
    return thought, answer, report, tokens, first_id


def _completions(payloads: list[Json]) -> tuple[str, str, Json, int, str | None]:
    for payload in payloads:
        for choice in payload["choices"]:
            choice["delta"] = {"content": choice["text"]}
    _, text, report, tokens, first_id = _chat(payloads)
    thought, _, answer = text.removeprefix("<think>").rpartition("</think>")
    return thought, answer, report, tokens, first_id


def _responses(payloads: list[Json]) -> tuple[str, str, Json, int, str | None]:
    texts = {"reasoning": "", "message": ""}
    response = payloads[-1].get("response", payloads[-1])
    first_id = None
    for item in response["output"]:
        texts[item["type"]] += "".join(part["text"] for part in item["content"])
    if response is not payloads[-1]:
        assert payloads[0]["type"] == "response.created"
        first_id = payloads[0]["response"]["thinking"]["id"]
        deltas = {"response.reasoning_text.delta": "", "response.output_text.delta": ""}
        items: list[Json] = []
        for payload in payloads:
            if payload["type"] in deltas:
                deltas[payload["type"]] += payload["delta"]
            if payload["type"] == "response.output_item.added":
                assert payload["output_index"] == len(items)
                items.append(payload["item"])
        assert list(deltas.values()) == list(texts.values())
        assert [item["id"] for item in items] == [item["id"] for item in response["output"]]
    tokens = response["usage"]["output_tokens_details"]["reasoning_tokens"]
    return texts["reasoning"], texts["message"], response["thinking"], tokens, first_id


def _messages(payloads: list[Json]) -> tuple[str, str, Json, int, str | None]:
    if payloads[0]["type"] == "message":
        (message,) = payloads
        blocks = message["content"]
        first_id = None
    else:
        assert [payload["type"] for payload in (payloads[0], payloads[-1])] == [
            "message_start",
            "message_stop",
        ]
        first_id = payloads[0]["message"]["thinking"]["id"]
        blocks = []
        for payload in payloads:
            if payload["type"] == "content_block_start":
                assert payload["index"] == len(blocks)
                blocks.append(payload["content_block"])
            elif payload["type"] == "content_block_delta":
                delta = payload["delta"]
                name = delta["type"].removesuffix("_delta")
                blocks[-1][name] = blocks[-1].get(name, "") + delta[name]
            elif payload["type"] == "message_delta":
                message = payload
    for block in blocks:
        assert ("signature" in block) == (block["type"] == "thinking")
    thought, answer = [
        "".join(block[name] for block in blocks if block["type"] == name) for name in ("thinking", "text")
    ]
    tokens = message["usage"]["output_tokens_details"]["thinking_tokens"]
    return thought, answer, message["thinking"], tokens, first_id


def _chat_body(text: str, max_tokens: int) -> Json:
    return {"messages": _user(text), "max_tokens": max_tokens}


def _raw_body(text: str, max_tokens: int) -> Json:
    prompt = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    return {"prompt": prompt, "max_tokens": max_tokens}


CHAT = Api(
    "/v1/chat/completions",
    _chat_body,
    lambda tokens: {"reasoning": {"max_tokens": tokens}},
    {"reasoning": {"exclude": True}},
    _chat,
)
BATCH = Api(
    "/v1/chat/completions/batch",
    lambda text, max_tokens: {"messages": [_user(text)], "max_tokens": max_tokens},
    lambda tokens: {"thinking_token_budget": tokens},
    {"include_reasoning": False},
    _chat,
    streams=False,
)
COMPLETIONS = Api(
    "/v1/completions", _raw_body, lambda tokens: {"thinking_budget_tokens": tokens}, {}, _completions
)
RESPONSES = Api(
    "/v1/responses",
    lambda text, max_tokens: {"input": text, "max_output_tokens": max_tokens},
    lambda tokens: {"reasoning": {"max_tokens": tokens, "summary": "auto"}},
    {"include_reasoning": False},
    _responses,
)
MESSAGES = Api(
    "/v1/messages",
    lambda text, max_tokens: {
        "model": "thinkdial-default",
        "messages": _user(text),
        "max_tokens": max_tokens,
    },
    lambda tokens: {"thinking": {"type": "enabled", "budget_tokens": tokens}},
    {"thinking": {"display": "omitted"}},
    _messages,
)
INVOCATIONS = Api(
    "/invocations",
    _chat_body,
    lambda tokens: {"nvext": {"max_thinking_tokens": tokens}},
    {"include_reasoning": False},
    _chat,
)
RAW_INVOCATIONS = Api("/invocations", _raw_body, lambda tokens: {"thinking_budget": tokens}, {}, _completions)

APIS = {
    "chat": CHAT,
    "batch": BATCH,
    "completions": COMPLETIONS,
    "responses": RESPONSES,
    "messages": MESSAGES,
    "invocations": INVOCATIONS,
    "raw invocations": RAW_INVOCATIONS,
}
EVERY_WAY = [(name, stream) for name, api in APIS.items() for stream in (False, True)[: 1 + api.streams]]
"""Each API, whole and streamed."""
EVERY_PARSED_WAY = [(name, stream) for name, stream in EVERY_WAY if APIS[name].hide]
"""Those whose replies keep thinking and answer apart."""
