"""ASGI messages around a rewritten body: a request's comes whole, a response's goes through a `Reporter`."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from serve.live import HEADER
from serve.reports import Reporter

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
EVENT_END = b"\n\n"
DATA = b"data: "


class Rewriter:
    """An ASGI `send` that has JSON and server-sent-event bodies annotated, and tells the thinking id.

    at_end: called before the last of the response is sent.
    """

    def __init__(self, send: Send, reporter: Reporter, at_end: Callable[[], None] = lambda: None) -> None:
        self.send = send
        self.reporter = reporter
        self.at_end = at_end
        self.start: Message | None = None
        self.kind = ""
        self.pending = b""
        self.last = b""
        self.ended = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
        elif message["type"] == "http.response.body" and self.kind == "text/event-stream":
            await self._events(message)
        elif message["type"] == "http.response.body" and self.kind == "application/json":
            await self._json(message)
        else:
            await self.send(message)

    async def _start(self, message: Message) -> None:
        headers = [*message["headers"], (HEADER.encode(), self.reporter.thinking_id.encode())]
        message = {**message, "headers": headers}
        self.kind = dict(headers).get(b"content-type", b"").split(b";")[0].decode()
        if self.kind == "application/json":
            self.start = message  # its content-length is known only with the whole body
        else:
            await self.send(message)

    async def _json(self, message: Message) -> None:
        self.pending += message.get("body", b"")
        if message.get("more_body"):
            return
        payload = json.loads(self.pending)
        if isinstance(payload, dict):
            self.reporter.whole(payload)
        body = ENCODER.encode(payload).encode()
        assert self.start is not None
        self.at_end()
        await self.send({**self.start, "headers": with_length(self.start["headers"], body)})
        await self.send({"type": "http.response.body", "body": body})

    async def _events(self, message: Message) -> None:
        more = message.get("more_body", False)
        *events, self.pending = (self.pending + message.get("body", b"")).split(EVENT_END)
        if events:
            self.last = events[-1]
        body = b"".join([self._event(event) for event in events])
        if not more:
            body += self.pending
            self.ended = True
            self.at_end()
        if body or not more:
            await self.send({**message, "body": body})

    async def fail(self) -> None:
        """End a stream of events whose handler has raised, with an event that says so."""
        if self.kind != "text/event-stream" or self.ended:
            return
        payload = self.reporter.failure(self.last)
        frame = f"event: {payload['type']}\n".encode() if "type" in payload else b""
        self.pending = b""
        self.at_end()
        event = frame + DATA + ENCODER.encode(payload).encode() + EVENT_END
        await self.send({"type": "http.response.body", "body": event})

    def _event(self, event: bytes) -> bytes:
        quick = self.reporter.quick(event)
        if quick is not None:
            return quick + EVENT_END
        frame, mark, data = event.partition(DATA)
        if not data.startswith(b"{"):
            return event + EVENT_END
        payload = json.loads(data)
        if not self.reporter.event(payload):
            return b""
        return frame + mark + ENCODER.encode(payload).encode() + EVENT_END


def with_length(headers: list[tuple[bytes, bytes]], body: bytes) -> list[tuple[bytes, bytes]]:
    """The headers with the content-length of another body."""
    kept = [(name, value) for name, value in headers if name != b"content-length"]
    return [*kept, (b"content-length", str(len(body)).encode())]


async def read_body(receive: Receive) -> bytes:
    return b"".join([chunk async for chunk in _chunks(receive)])


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        yield message.get("body", b"")
        more = message.get("more_body", False)


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body`, then what the client does next (it may leave)."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
