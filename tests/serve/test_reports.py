"""Annotating event streams: what is patched as bytes is what parsing gives, wherever the network cuts."""

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from serve.reports import ChoicesReporter
from serve.rewrite import Message, Rewriter
from serve.trace import LiveThinking
from tests.serve.test_trace import tracker_of

ID = "chatcmpl-1"
TEXTS = st.text() | st.sampled_from(
    ['"', "\\", '\\"', '"reasoning":"x"', '"finish_reason":null', "\n\n", "é"]
)
DELTAS = st.fixed_dictionaries({}, optional={"content": TEXTS, "reasoning": TEXTS})


def reporter(hidden: bool = False) -> ChoicesReporter:
    live = LiveThinking()
    live.trackers[ID, 0] = tracker_of("thinking")
    return ChoicesReporter(live, "think-1", hidden)


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """A chunk as vLLM writes it."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {"id": ID, "object": "chat.completion.chunk", "choices": [choice]}


def event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


FIRST = chunk({"role": "assistant", "content": ""})


@given(DELTAS)
def test_bytes_are_patched_as_parsing_would(delta: dict[str, Any]) -> None:
    quick, slow = reporter(), reporter()
    for each in (quick, slow):
        assert each.event(json.loads(json.dumps(FIRST)))
    payload = chunk(delta)
    patched = quick.quick(event(payload))
    assert patched is not None
    assert slow.event(payload)
    assert json.loads(patched.removeprefix(b"data: ")) == payload


@given(st.lists(DELTAS, max_size=5), st.lists(st.integers(1, 60)), st.booleans())
def test_cuts_of_the_network_do_not_matter(
    deltas: list[dict[str, Any]], cuts: list[int], hidden: bool
) -> None:
    payloads = [FIRST, *map(chunk, deltas), chunk({}, "stop")]
    stream = b"".join(event(payload) + b"\n\n" for payload in payloads) + b"data: [DONE]\n\n"
    pieces = []
    rest = stream
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    whole, cut_up = sent([stream], hidden), sent([*pieces, rest], hidden)
    for both in (whole, cut_up):
        assert both.endswith(b"data: [DONE]\n\n")
    # The report tells the time, which goes on.
    assert whole.partition(b'"seconds"')[0] == cut_up.partition(b'"seconds"')[0]
    found = [json.loads(line[6:]) for line in whole.decode().split("\n\n") if line.startswith("data: {")]
    shown = [part["choices"][0]["delta"] for part in found]
    for name in ("content", "reasoning"):
        asked = "" if hidden and name == "reasoning" else "".join(d.get(name) or "" for d in deltas)
        assert "".join(d.get(name) or "" for d in shown) == asked
    assert found[0]["choices"][0]["thinking"] == {"id": "think-1"}


def sent(pieces: list[bytes], hidden: bool) -> bytes:
    """What a client gets for an event stream that comes in these pieces."""
    got: list[bytes] = []

    async def send(message: Message) -> None:
        got.append(message.get("body", b""))

    async def run() -> None:
        rewriter = Rewriter(send, reporter(hidden))
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await rewriter({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in pieces:
            await rewriter({"type": "http.response.body", "body": piece, "more_body": True})
        await rewriter({"type": "http.response.body", "body": b""})

    asyncio.run(run())
    return b"".join(got)
