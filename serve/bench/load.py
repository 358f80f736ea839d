"""A lean load generator: streamed chat completions on keep-alive connections, timed piece by piece.

While requests run, the client only notes when bytes arrived. What the bytes say is read afterwards, so that
the generator takes next to nothing of the cores that it shares with the server.
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Any, cast
from urllib.parse import urlsplit

LAST_CHUNK = b"0\r\n\r\n"
HEADERS_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """One streamed reply; times are seconds on the monotonic clock.

    sent: when its request was written. ended: when its last byte came. completion_tokens: by its usage.
    times: when each event with a choice came. token_ids: those of each such event, empty unless the request
    has `return_token_ids`. finish_reason: of its one choice. prompt_tokens: by its usage.
    """

    sent: float
    ended: float
    completion_tokens: int
    times: tuple[float, ...]
    token_ids: tuple[tuple[int, ...], ...]
    finish_reason: str | None
    prompt_tokens: int = 0

    @property
    def first_token_seconds(self) -> float:
        """From the request to the first event; vLLM sends it with the first token."""
        return self.times[0] - self.sent

    @property
    def gaps(self) -> list[float]:
        """Seconds between events that follow each other; the last event has no token of its own."""
        return [later - sooner for sooner, later in pairwise(self.times[:-1])]

    def wait_for_answer(self, stop_ids: Sequence[int]) -> float:
        """Seconds from the last thinking token to the first answer token of a reply that was cut once.

        stop_ids: the early-stop text's tokens. Raises ValueError unless the reply holds them exactly once,
        with tokens before and after.
        """
        arrivals = [
            (token, time) for ids, time in zip(self.token_ids, self.times, strict=True) for token in ids
        ]
        tokens = [token for token, _ in arrivals]
        length = len(stop_ids)
        cuts = [at for at in range(len(tokens)) if tokens[at : at + length] == list(stop_ids)]
        if len(cuts) != 1 or not 0 < cuts[0] < len(tokens) - length:
            raise ValueError(
                f"the early-stop text is at {cuts} of {len(tokens)} tokens; "
                "it must be there once, with tokens before and after"
            )
        return arrivals[cuts[0] + length][1] - arrivals[cuts[0] - 1][1]


def run_load(base_url: str, bodies: Sequence[dict[str, Any]], concurrency: int) -> list[Reply]:
    """Send streamed chat requests, `concurrency` at any time, each as soon as another has ended.

    Returns their replies in order. Raises RuntimeError if the server answers one with an error.
    """
    import uvloop

    return uvloop.run(_run(base_url, [chat_request(base_url, body) for body in bodies], concurrency))


async def _run(base_url: str, requests: Sequence[bytes], concurrency: int) -> list[Reply]:
    connections = [await connect(base_url) for _ in range(concurrency)]
    waiting = deque(enumerate(requests))
    exchanges: dict[int, Exchange] = {}

    async def worker(connection: Connection) -> None:
        while waiting:
            index, request = waiting.popleft()
            exchanges[index] = await connection.exchange(request)

    try:
        await asyncio.gather(*map(worker, connections))
    finally:
        for connection in connections:
            connection.close()
    return [read_reply(exchanges[index].sent, exchanges[index].pieces) for index in range(len(requests))]


@dataclass(frozen=True, slots=True)
class Exchange:
    """When a request was written, and the bytes of its response with the times of their arrival."""

    sent: float
    pieces: list[tuple[float, bytes]]


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, with one request at a time. closed: the server has closed it."""

    closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ended: asyncio.Future[None] | None = None

    async def exchange(self, request: bytes) -> Exchange:
        """Send a request and take its response. Raises RuntimeError unless that is whole and a success."""
        self._pieces: list[tuple[float, bytes]] = []
        self._tail = b""
        self._ended = asyncio.get_running_loop().create_future()
        sent = perf_counter()
        self._transport.write(request)
        await self._ended
        return Exchange(sent, self._pieces)

    def data_received(self, data: bytes) -> None:
        assert self._ended is not None
        self._pieces.append((perf_counter(), data))
        self._tail = (self._tail + data[-len(LAST_CHUNK) :])[-len(LAST_CHUNK) :]
        if self._tail == LAST_CHUNK:
            self._ended.set_result(None)
        elif not self._pieces[0][1].startswith(b"HTTP/1.1 200"):
            # An error has a length, not chunks; its head and body may come apart.
            answer = b"".join(piece for _, piece in self._pieces)
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", answer)
            _, end, body = answer.partition(b"\r\n\r\n")
            complete = end and len(body) >= int(length[1] if length else 0)
            if complete and not self._ended.done():
                self._ended.set_exception(
                    RuntimeError(f"the server answered {answer.decode(errors='replace')!r}")
                )

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(RuntimeError("the server closed the connection within a reply"))

    @property
    def unanswered(self) -> bool:
        """The server has closed the connection without a byte of the response."""
        return self.closed and not self._pieces

    def close(self) -> None:
        self._transport.close()


async def connect(base_url: str) -> Connection:
    """A connection to the server at `base_url`."""
    host, _, port = urlsplit(base_url).netloc.rpartition(":")
    return (await asyncio.get_running_loop().create_connection(Connection, host, int(port)))[1]


def chat_request(base_url: str, body: dict[str, Any], api_key: str | None = None) -> bytes:
    """A streamed chat completion as the bytes of an HTTP request."""
    authorization = "" if api_key is None else f"Authorization: Bearer {api_key}\r\n"
    raw = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\n"
        f"Host: {urlsplit(base_url).netloc}\r\n"
        "Content-Type: application/json\r\n"
        f"{authorization}"
        f"Content-Length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


def read_reply(sent: float, pieces: Sequence[tuple[float, bytes]]) -> Reply:
    """The reply in the bytes of an HTTP response (chunked, server-sent events).

    sent: when the request was written. pieces: bytes as they came, each with its time of arrival.
    """
    times: list[float] = []
    token_ids: list[tuple[int, ...]] = []
    finish_reason: str | None = None
    completion_tokens = prompt_tokens = 0
    for time, payload in events(pieces):
        if "error" in payload:
            raise RuntimeError(f"the server broke off a reply: {payload['error']}")
        for choice in payload["choices"]:
            times.append(time)
            token_ids.append(tuple(choice.get("token_ids") or ()))
            finish_reason = choice["finish_reason"] or finish_reason
        if payload.get("usage"):
            completion_tokens = payload["usage"]["completion_tokens"]
            prompt_tokens = payload["usage"]["prompt_tokens"]
    return Reply(
        sent, pieces[-1][0], completion_tokens, tuple(times), tuple(token_ids), finish_reason, prompt_tokens
    )


def events(pieces: Sequence[tuple[float, bytes]]) -> list[tuple[float, dict[str, Any]]]:
    """The JSON events of a response, each with the arrival of the bytes that complete it."""
    found: list[tuple[float, dict[str, Any]]] = []
    raw = body = b""
    in_body = False
    for time, data in pieces:
        raw += data
        if not in_body:
            _, end, rest = raw.partition(HEADERS_END)
            if not end:
                continue
            raw, in_body = rest, True
        while (line_end := raw.find(b"\r\n")) >= 0:
            start = line_end + 2
            stop = start + int(raw[:line_end], 16)
            if len(raw) < stop + 2:
                break
            body += raw[start:stop]
            raw = raw[stop + 2 :]
        *complete, body = body.split(b"\n\n")
        found += [
            (time, json.loads(event.removeprefix(b"data: ")))
            for event in complete
            if event.startswith(b"data: {")
        ]
    return found
