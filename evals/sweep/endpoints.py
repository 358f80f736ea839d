"""The servers of a sweep: requests go to the least busy, and are tried again where that may help.

A request is a function of a client, so that any server can answer it. What it returns is stored by the caller
under its own key: however often a request was tried, there is one reply.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Self

import httpx

from clients import APIError, AsyncClient, Reply
from evals.sweep.endpoint import Endpoint, describe

Request = Callable[[AsyncClient], Awaitable[Reply]]

TIMEOUT_SECONDS = 3600.0
RETRIED = (408, 409, 425, 429)
"""Statuses below 500 that may pass: timeout, conflict, too early, too many requests."""
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
LONGEST_RETRY_AFTER = 600.0
PATIENCE = 3
"""Failures in a row after which a server is left, if there is another. Those of requests that were in flight
together are one, and being asked to wait is none."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply, who gave it at which attempt, and the seconds of that attempt."""

    reply: Reply
    base_url: str
    attempts: int
    seconds: float


@dataclass(slots=True)
class _Server:
    base_url: str
    client: AsyncClient
    in_flight: int = 0
    failures: int = 0
    failed_at: float = 0.0
    rests_until: float = 0.0
    left: bool = False


class Endpoints:
    """Servers of one model, seen as one.

    retried: attempts beyond the first. left: the base URLs of servers that were left; on_left is told each.
    """

    def __init__(self, described: Endpoint, servers: Sequence[_Server], retries: int) -> None:
        self.described = described
        self.retried = 0
        self.left: list[str] = []
        self.on_left: Callable[[str], None] = lambda base_url: None
        self._servers = servers
        self._retries = retries

    @classmethod
    @asynccontextmanager
    async def open(
        cls, base_urls: Sequence[str], model: str | None, api_key: str | None, retries: int
    ) -> AsyncIterator[Self]:
        """Connect to every server and see that they serve the same model the same way.

        Raises ValueError naming what differs, and what `evals.sweep.endpoint.describe` raises.
        """
        if not base_urls:
            raise ValueError("base_url: none given; give the root of a server, e.g. http://127.0.0.1:8000")
        async with AsyncExitStack() as stack:
            servers, described = [], []
            for base_url in dict.fromkeys(base_urls):
                client = await stack.enter_async_context(
                    AsyncClient(base_url, api_key=api_key, timeout=TIMEOUT_SECONDS, retries=0)
                )
                servers.append(_Server(base_url, client))
                described.append(await describe(base_url, client, model, api_key))
            for server, other in zip(servers[1:], described[1:], strict=True):
                _check_same(servers[0].base_url, described[0], server.base_url, other)
            yield cls(described[0], servers, retries)

    @classmethod
    @asynccontextmanager
    async def named(
        cls, base_url: str, model: str, api_key: str | None, retries: int, timeout: float
    ) -> AsyncIterator[Self]:
        """One server whose model is known, so that it is asked nothing first."""
        async with AsyncClient(base_url, api_key=api_key, timeout=timeout, retries=0) as client:
            yield cls(Endpoint(model, None, None), [_Server(base_url, client)], retries)

    @property
    def in_flight(self) -> int:
        return sum(server.in_flight for server in self._servers)

    async def ask(self, request: Request, prefer: str | None = None) -> Answered:
        """The reply to a request, from `prefer` if that server is still there.

        Raises clients.APIError when it is refused, and the last error when all attempts failed.
        """
        avoid: _Server | None = None
        for attempt in range(1, self._retries + 2):
            server = self._choose(prefer, avoid)
            server.in_flight += 1
            started = time.monotonic()
            try:
                reply = await request(server.client)
            except (APIError, httpx.TransportError) as error:
                if not _may_pass(error):
                    raise
                self._note_failure(server, started, error)
                if attempt > self._retries:
                    raise
                delay = self._delay(server, attempt, error)
            else:
                server.failures, server.rests_until = 0, 0.0
                return Answered(reply, server.base_url, attempt, time.monotonic() - started)
            finally:
                server.in_flight -= 1
            self.retried += 1
            avoid = server
            await asyncio.sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    def _present(self) -> list[_Server]:
        return [server for server in self._servers if not server.left]

    def _choose(self, prefer: str | None, avoid: _Server | None) -> _Server:
        now = time.monotonic()
        present = self._present()
        for server in present:
            if server.base_url == prefer and server is not avoid and server.rests_until <= now:
                return server
        return min(present, key=lambda server: (server is avoid, server.rests_until > now, server.in_flight))

    def _note_failure(self, server: _Server, started: float, error: APIError | httpx.TransportError) -> None:
        now = time.monotonic()
        if not _asks_to_wait(error) and started >= server.failed_at:
            server.failures += 1
            server.failed_at = now
        # Failing is quick, so that a failing server would always be the least busy.
        rest = max(FIRST_DELAY * 2 ** (server.failures - 1), _asked_seconds(error))
        server.rests_until = max(server.rests_until, now + rest)
        if server.failures >= PATIENCE and not server.left and len(self._present()) > 1:
            server.left = True
            self.left.append(server.base_url)
            self.on_left(server.base_url)

    def _delay(self, server: _Server, attempt: int, error: APIError | httpx.TransportError) -> float:
        """Seconds before the next attempt: doubling, with jitter of a half, at least what the server asks.

        Less where another server is ready sooner.
        """
        backoff = min(FIRST_DELAY * 2 ** (attempt - 1), LONGEST_DELAY) * random.uniform(0.5, 1.0)
        delay = max(backoff, _asked_seconds(error))
        others = [other.rests_until for other in self._present() if other is not server]
        return min(delay, max(FIRST_DELAY, min(others) - time.monotonic())) if others else delay


def _check_same(first_url: str, first: Endpoint, other_url: str, other: Endpoint) -> None:
    one, two = asdict(first), asdict(other)
    if first.thinking is not None and other.thinking is not None:
        one, two = {**one, **one["thinking"]}, {**two, **two["thinking"]}
        del one["thinking"], two["thinking"]
    for name, value in one.items():
        if name != "default_budget" and value != two[name]:
            raise ValueError(
                f"base_url: {first_url} and {other_url} differ in {name}: {value!r} and {two[name]!r}; "
                "servers of one sweep serve the same model with the same thinking format"
            )


def _may_pass(error: APIError | httpx.TransportError) -> bool:
    if isinstance(error, httpx.TransportError):
        return not isinstance(error, httpx.UnsupportedProtocol)
    return error.status in RETRIED or error.status >= 500


def _asks_to_wait(error: APIError | httpx.TransportError) -> bool:
    return isinstance(error, APIError) and error.status == 429


def _asked_seconds(error: APIError | httpx.TransportError) -> float:
    """For how long the server asks to be left alone; 0 where it does not say."""
    asked = error.retry_after if isinstance(error, APIError) else None
    return min(asked or 0.0, LONGEST_RETRY_AFTER)
