"""Load as a server sees it from many users: requests are sent when they are due, answered or not.

An open loop: a slow server does not slow the arrivals down, and a reply's time counts from when its request
was due, so that no wait is left out. The client only notes bytes while requests run and reads them
afterwards, in one process and one thread, since it may share the server's cores.

Connections are opened before the load begins, as a balancer in front of a server holds them open: a server's
event loop (libuv's) accepts one a turn, so that under load those that are opened meanwhile wait in the
kernel, where no server can see them.
"""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from serve.bench.load import Connection, Exchange, connect, events
from serve.open_files import allow_open_files

CONNECTIONS = 1000
"""Opened beforehand, at most; others as they are needed."""
WARM_SHARE = 0.25
"""Share of a saturating run that is left out at its start: the first replies end together."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a request; times in seconds since the load began.

    due: when it was to be sent. sent: when it was. ended: when its last byte came. answer: its text after the
    thinking. report: the server's, empty from other servers. tokens: by its usage. error: why there is no
    reply, with the members above as far as they are known.
    """

    due: float
    sent: float | None
    ended: float | None
    answer: str = ""
    report: dict[str, Any] | None = None
    tokens: int | None = None
    error: str | None = None


def open_loop(base_url: str, requests: Sequence[tuple[float, bytes]]) -> list[Answered]:
    """Send each request at its time, in seconds from now; returns what became of them, in their order."""
    import uvloop

    allow_open_files()
    return uvloop.run(_open_loop(base_url, requests))


def saturate(base_url: str, requests: Sequence[bytes], concurrency: int, seconds: float) -> float:
    """Replies a second of a server that always has `concurrency` requests to answer.

    The requests are sent again and again for `seconds`. Raises RuntimeError when the server answers an error.
    """
    import uvloop

    allow_open_files()
    return uvloop.run(_saturate(base_url, requests, concurrency, seconds))


async def _open_loop(base_url: str, requests: Sequence[tuple[float, bytes]]) -> list[Answered]:
    idle = [await connect(base_url) for _ in range(min(CONNECTIONS, len(requests)))]
    began = perf_counter()

    async def ask(due: float, request: bytes) -> Answered:
        await asyncio.sleep(due - (perf_counter() - began))
        sent: float | None = None
        try:
            connection = await _connection(base_url, idle)
            sent = perf_counter() - began
            exchange = await _exchange(base_url, connection, request)
        except (OSError, RuntimeError) as error:
            return Answered(due, sent, None, error=str(error) or type(error).__name__)
        idle.append(connection)
        times = (due, exchange.sent - began, exchange.pieces[-1][0] - began)
        return _read(times, exchange.pieces)

    answered = await asyncio.gather(*(ask(due, request) for due, request in requests))
    for connection in idle:
        connection.close()
    return answered


async def _saturate(base_url: str, requests: Sequence[bytes], concurrency: int, seconds: float) -> float:
    connections = [await connect(base_url) for _ in range(concurrency)]
    queue = itertools.cycle(requests)
    ended: list[float] = []
    began = perf_counter()

    async def worker(connection: Connection) -> None:
        while perf_counter() - began < seconds:
            exchange = await connection.exchange(next(queue))
            ended.append(exchange.pieces[-1][0] - began)

    try:
        await asyncio.gather(*map(worker, connections))
    finally:
        for connection in connections:
            connection.close()
    warm = WARM_SHARE * seconds
    return sum(warm < time <= seconds for time in ended) / (seconds - warm)


async def _exchange(base_url: str, connection: Connection, request: bytes) -> Exchange:
    """The exchange, once more where the server closes an idle connection just when it is used again."""
    try:
        return await connection.exchange(request)
    except RuntimeError:
        if not connection.unanswered:
            raise
    return await (await connect(base_url)).exchange(request)


async def _connection(base_url: str, idle: list[Connection]) -> Connection:
    """An idle connection that the server has not closed, the last used first, or one more."""
    while idle:
        if not (connection := idle.pop()).closed:
            return connection
    return await connect(base_url)


def _read(times: tuple[float, float, float], pieces: Sequence[tuple[float, bytes]]) -> Answered:
    answer, report, tokens = "", None, None
    for _, payload in events(pieces):
        if "error" in payload:
            return Answered(*times, error=str(payload["error"]))
        for choice in payload["choices"]:
            answer += choice["delta"].get("content") or ""
            if choice["finish_reason"] is not None:
                report = choice.get("thinking")
        if payload.get("usage"):
            tokens = payload["usage"]["completion_tokens"]
    return Answered(*times, answer, report, tokens)
