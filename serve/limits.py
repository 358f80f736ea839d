"""The gate before every route: API keys, limits, and no new requests while the server ends.

The outermost ASGI middleware. What it refuses reaches neither vLLM nor any other middleware.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from serve.keys import ApiKey, KeyRing
from serve.logs import LOGGER, RECORD, RequestRecord
from serve.playground import FILES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEALTH = "/health"
METRICS = "/metrics"
OPEN = frozenset({HEALTH, *FILES})
"""Paths that need no key: they tell nothing of the model or of anyone's requests."""
MESSAGES = "/v1/messages"
ENDING_SUFFIXES = ("/stop", "/cancel")
"""Routes that end other requests: never held up by what they would end."""

RETRY_SECONDS = b"1"

POLICY_VIOLATION = 1008
"""Close code of a websocket (RFC 6455, section 7.4.1)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP error of the gate. reason: its label in metrics. types: as OpenAI and as Anthropic name it."""

    reason: str
    status: int
    types: tuple[str, str]
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


UNAUTHORIZED = Refusal(
    "unauthorized",
    401,
    ("AuthenticationError", "authentication_error"),
    "no known API key; give one as `Authorization: Bearer KEY` or `x-api-key: KEY`",
    ((b"www-authenticate", b"Bearer"),),
)
DRAINING = Refusal(
    "draining",
    503,
    ("ServiceUnavailableError", "overloaded_error"),
    "the server is ending and takes no new requests; try another, or this one once it is up again",
    ((b"retry-after", RETRY_SECONDS), (b"connection", b"close")),
)


class Admission:
    """The requests that run, in all and by key, and whether new ones are let in."""

    def __init__(self) -> None:
        self.closed = False
        self._running = 0
        self._by_key: Counter[str] = Counter()
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self, key: ApiKey | None, *, counts: bool) -> bool:
        """Let one more in; False if its key has as many as it may. counts: it takes a place of the key's."""
        if key is not None and counts:
            if key.max_concurrency is not None and self._by_key[key.name] >= key.max_concurrency:
                return False
            self._by_key[key.name] += 1
        self._running += 1
        self._idle.clear()
        return True

    def leave(self, key: ApiKey | None, *, counts: bool) -> None:
        if key is not None and counts:
            self._by_key[key.name] -= 1
        self._running -= 1
        if not self._running:
            self._idle.set()

    async def idle(self) -> None:
        """Return once no request runs."""
        await self._idle.wait()


class Gate:
    """ASGI middleware: refuses, or passes on with `scope["thinkdial.key"]` set.

    keys: if empty, nobody needs one. max_bytes: longest request body. on_reject: is told why.
    log: write a line for each request.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        *,
        keys: KeyRing,
        admission: Admission,
        max_bytes: int,
        on_reject: Callable[[str], None],
        log: bool,
    ) -> None:
        self.app = app
        self.keys = keys
        self.admission = admission
        self.max_bytes = max_bytes
        self.on_reject = on_reject
        self.log = log

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        record = RequestRecord(scope)
        # Shared with the copies of the scope that inner middleware makes.
        scope.setdefault("state", {})
        token = RECORD.set(record)
        try:
            await self._serve(scope, receive, _watched(send, record), record)
        finally:
            RECORD.reset(token)
            if record.status == 400:
                self.on_reject("invalid")
            if self.log:
                LOGGER.info(record.line())

    async def _serve(self, scope: Message, receive: Receive, send: Send, record: RequestRecord) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
        ends_another = path.endswith(ENDING_SUFFIXES)
        if self.admission.closed and path != METRICS and not ends_another:
            await self._refuse(DRAINING, path, scope, send)
            return
        key: ApiKey | None = None
        if len(self.keys) and path not in OPEN and not _is_preflight(scope):
            key = self.keys.find(_presented(scope))
            if key is None:
                await self._refuse(UNAUTHORIZED, path, scope, send)
                return
            record.key = key.name
        scope["thinkdial.key"] = key

        counts = scope.get("method") != "GET" and not ends_another
        if not self.admission.enter(key, counts=counts):
            assert key is not None
            await self._refuse(_too_many(key), path, scope, send)
            return
        try:
            if scope["type"] == "http" and _has_body(scope):
                body = await self._read(receive, scope)
                if body is None:
                    await self._refuse(_too_large(self.max_bytes), path, scope, send)
                    return
                receive = _replay(body, receive)
            await self.app(scope, receive, send)
        finally:
            self.admission.leave(key, counts=counts)

    async def _read(self, receive: Receive, scope: Message) -> list[Message] | None:
        """The body's messages, or None if it is too long, told as soon as it is."""
        declared = _header(scope, b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > self.max_bytes:
            return None
        messages: list[Message] = []
        size = 0
        more = True
        while more:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            if size > self.max_bytes:
                return None
            more = message.get("more_body", False)
        return messages

    async def _refuse(self, refusal: Refusal, path: str, scope: Message, send: Send) -> None:
        self.on_reject(refusal.reason)
        if scope["type"] == "websocket":
            # Before the handshake is accepted this is HTTP 403.
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": refusal.message})
            return
        openai_type, anthropic_type = refusal.types
        body: dict[str, Any] = {
            "error": {"message": refusal.message, "type": openai_type, "param": None, "code": refusal.status}
        }
        if path.startswith(MESSAGES):
            body = {"type": "error", "error": {"type": anthropic_type, "message": refusal.message}}
        raw = json.dumps(body).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
        await send(
            {
                "type": "http.response.start",
                "status": refusal.status,
                "headers": [*headers, *refusal.headers],
            }
        )
        await send({"type": "http.response.body", "body": raw})


def _too_many(key: ApiKey) -> Refusal:
    return Refusal(
        "concurrency",
        429,
        ("RateLimitError", "rate_limit_error"),
        f"key {key.name!r} has {key.max_concurrency} requests running, as many as it may; wait for one",
        ((b"retry-after", RETRY_SECONDS),),
    )


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(
        "too_large",
        413,
        ("RequestTooLargeError", "request_too_large"),
        f"the request body is longer than {max_bytes} bytes",
    )


def _watched(send: Send, record: RequestRecord) -> Send:
    """`send` that notes status, thinking id and end of the response."""

    async def watched(message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            record.status = message["status"]
            headers = dict(message.get("headers", ()))
            if b"x-thinking-id" in headers:
                record.thinking_id = headers[b"x-thinking-id"].decode()
        elif kind == "http.response.body":
            record.complete = not message.get("more_body", False)
        await send(message)

    return watched


def _presented(scope: Message) -> Iterator[str]:
    """The secrets that a request offers, as OpenAI's and as Anthropic's clients send them."""
    scheme, _, token = (_header(scope, b"authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        yield token.strip()
    if (token := _header(scope, b"x-api-key") or "") != "":
        yield token.strip()


def _header(scope: Message, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def _is_preflight(scope: Message) -> bool:
    """A browser's question before a cross-origin request. The CORS middleware answers it, not a route."""
    asks = _header(scope, b"origin") and _header(scope, b"access-control-request-method")
    return scope.get("method") == "OPTIONS" and bool(asks)


def _has_body(scope: Message) -> bool:
    length = _header(scope, b"content-length")
    return length not in (None, "0") or _header(scope, b"transfer-encoding") is not None


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """A `receive` that gives the messages that were read, then what the client does next."""
    given = iter(messages)

    async def replay() -> Message:
        for message in given:
            return message
        return await receive()

    return replay
