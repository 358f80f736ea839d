"""Client and AsyncClient: two thin httpx transports around the pure functions of clients.wire.

Retries: only when the connection failed before a response began (refused, reset, closed unanswered). A
request that timed out after it was sent, a response that broke off and an HTTP error are never tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from clients import errors, wire
from clients.events import EventStream
from clients.types import (
    APIError,
    ChatOptions,
    Event,
    Messages,
    Reply,
    SamplingOptions,
    Started,
    ThinkingFormat,
)

_CHAT = "/v1/chat/completions"
_COMPLETIONS = "/v1/completions"
_CONNECT_SECONDS = 10.0
_BACKOFF_SECONDS = 0.25
_LONGEST_BACKOFF_SECONDS = 8.0
# A read timeout is not here: the server has the request and may still be working on it.
_RETRIED = (httpx.NetworkError, httpx.ConnectTimeout)


def _is_retried(error: httpx.TransportError) -> bool:
    unanswered = isinstance(error, httpx.RemoteProtocolError) and "without sending a response" in str(error)
    return unanswered or isinstance(error, _RETRIED)


def _backoff(attempt: int) -> float:
    return min(_BACKOFF_SECONDS * 2**attempt, _LONGEST_BACKOFF_SECONDS)


def _settings(base_url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    if timeout <= 0:
        raise ValueError(f"timeout is {timeout}; it must be a positive number of seconds")
    return {
        "base_url": wire.api_root(base_url),
        "headers": wire.auth_headers(api_key),
        "timeout": httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
        # The pool must not queue requests by itself: a sweep decides how many it keeps in flight.
        "limits": httpx.Limits(max_connections=None),
    }


def _check_retries(retries: int) -> int:
    if retries < 0:
        raise ValueError(f"retries is {retries}; it must be 0 or more")
    return retries


def _retry_after(response: httpx.Response) -> float | None:
    return errors.parse_retry_after(response.headers.get("retry-after"))


def _broke_off(response: httpx.Response) -> httpx.RemoteProtocolError:
    return httpx.RemoteProtocolError(
        "the stream ended before the reply was finished", request=response.request
    )


def _error(response: httpx.Response, content: bytes) -> APIError:
    key = response.request.headers.get("authorization", "").removeprefix("Bearer ")
    return errors.parse_error(response.status_code, content, _retry_after(response), key)


class Client:
    """Synchronous client of one OpenAI-compatible server; reads thinking reports where the server sends them.

    base_url: the server's root, with or without /v1. timeout: seconds to wait for the next bytes (to connect:
    at most 10). retries: further attempts after a connection error. Methods raise APIError for HTTP errors
    and httpx.TransportError when the connection fails. For options see clients.types.ChatOptions.
    """

    def __init__(
        self, base_url: str, *, api_key: str | None = None, timeout: float = 600.0, retries: int = 2
    ) -> None:
        self._http = httpx.Client(**_settings(base_url, api_key, timeout))
        self._retries = _check_retries(retries)
        self._first_model: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[httpx.Response]:
        """A response with status 2xx whose body is still to be read."""
        attempt = 0
        while True:
            try:
                request = self._http.build_request(method, path, json=body, headers=headers)
                response = self._http.send(request, stream=True)
                break
            except httpx.TransportError as error:
                if attempt >= self._retries or not _is_retried(error):
                    raise
            time.sleep(_backoff(attempt))
            attempt += 1
        try:
            if not response.is_success:
                raise _error(response, response.read())
            yield response
        finally:
            response.close()

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        with self._open(method, path, body) as response:
            return errors.parse_json(response.status_code, response.read())

    def _reply(self, path: str, body: dict[str, Any], options: SamplingOptions) -> Reply:
        with self._open("POST", path, body, wire.headers(options)) as response:
            payload = errors.parse_json(response.status_code, response.read())
            return wire.parse_reply(payload, response.headers.get(wire.THINKING_ID))

    def _model(self, options: SamplingOptions) -> str:
        name = options.get("model") or self._first_model
        if name is None:
            name = self._first_model = self.models()[0]
        return name

    def chat(self, messages: Messages, **options: Unpack[ChatOptions]) -> Reply:
        """Ask and wait for the whole reply. messages: the user's text, or a list of {"role", "content"}."""
        body = wire.chat_body(messages, options, self._model(options), stream=False)
        return self._reply(_CHAT, body, options)

    def stream(self, messages: Messages, **options: Unpack[ChatOptions]) -> Generator[Event, None, None]:
        """Ask, yield Started, then ThinkingDelta and AnswerDelta as they come, then Finished.

        Finished has the reply as from chat().

        A stream that breaks off raises httpx.TransportError; closing the iterator early stops the generation.
        """
        body = wire.chat_body(messages, options, self._model(options), stream=True)
        with self._open("POST", _CHAT, body, wire.headers(options)) as response:
            thinking_id = response.headers.get(wire.THINKING_ID)
            yield Started(thinking_id)
            events = EventStream(thinking_id)
            for chunk in response.iter_bytes():
                yield from events.feed(chunk)
            finished = events.finish()
            if finished is None:
                raise _broke_off(response)
            yield finished

    def complete(self, prompt: str | list[int], **options: Unpack[SamplingOptions]) -> Reply:
        """Continue a prompt (text or token ids) without a chat template; all text is in Choice.answer."""
        body = wire.completion_body(prompt, options, self._model(options))
        return self._reply(_COMPLETIONS, body, options)

    def stop(self, thinking_id: str) -> int:
        """Have a running request answer now. Returns how many of its choices were still thinking.

        thinking_id: from Started, or as given to the request. APIError 404 if no such request is running.
        """
        return wire.parse_stopping(self._json("POST", wire.stop_path(thinking_id)))

    def models(self) -> list[str]:
        """Names of the served models."""
        return wire.parse_models(self._json("GET", "/v1/models"))

    def thinking_format(self) -> ThinkingFormat:
        """The served model's thinking tags and early-stop text; APIError 404 from servers without them."""
        return wire.parse_format(self._json("GET", "/v1/thinking/format"))

    def thinking_profile(self) -> dict[str, Any]:
        """The served model's measured curve and effort levels, as JSON; APIError 404 where there is none."""
        return self._json("GET", "/v1/thinking/profile")

    def health(self) -> bool:
        """Whether the server answers and says it is well, now (asked once, no retries)."""
        try:
            return self._http.get("/health").is_success
        except httpx.TransportError:
            return False


class AsyncClient:
    """The asynchronous twin of Client: same arguments and methods, awaited; stream() is an async iterator."""

    def __init__(
        self, base_url: str, *, api_key: str | None = None, timeout: float = 600.0, retries: int = 2
    ) -> None:
        self._http = httpx.AsyncClient(**_settings(base_url, api_key, timeout))
        self._retries = _check_retries(retries)
        self._first_model: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """A response with status 2xx whose body is still to be read."""
        attempt = 0
        while True:
            try:
                request = self._http.build_request(method, path, json=body, headers=headers)
                response = await self._http.send(request, stream=True)
                break
            except httpx.TransportError as error:
                if attempt >= self._retries or not _is_retried(error):
                    raise
            await asyncio.sleep(_backoff(attempt))
            attempt += 1
        try:
            if not response.is_success:
                raise _error(response, await response.aread())
            yield response
        finally:
            await response.aclose()

    async def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        async with self._open(method, path, body) as response:
            return errors.parse_json(response.status_code, await response.aread())

    async def _reply(self, path: str, body: dict[str, Any], options: SamplingOptions) -> Reply:
        async with self._open("POST", path, body, wire.headers(options)) as response:
            payload = errors.parse_json(response.status_code, await response.aread())
            return wire.parse_reply(payload, response.headers.get(wire.THINKING_ID))

    async def _model(self, options: SamplingOptions) -> str:
        name = options.get("model") or self._first_model
        if name is None:
            name = self._first_model = (await self.models())[0]
        return name

    async def chat(self, messages: Messages, **options: Unpack[ChatOptions]) -> Reply:
        """See Client.chat."""
        body = wire.chat_body(messages, options, await self._model(options), stream=False)
        return await self._reply(_CHAT, body, options)

    async def stream(self, messages: Messages, **options: Unpack[ChatOptions]) -> AsyncGenerator[Event, None]:
        """See Client.stream."""
        body = wire.chat_body(messages, options, await self._model(options), stream=True)
        async with self._open("POST", _CHAT, body, wire.headers(options)) as response:
            thinking_id = response.headers.get(wire.THINKING_ID)
            yield Started(thinking_id)
            events = EventStream(thinking_id)
            async for chunk in response.aiter_bytes():
                for event in events.feed(chunk):
                    yield event
            finished = events.finish()
            if finished is None:
                raise _broke_off(response)
            yield finished

    async def complete(self, prompt: str | list[int], **options: Unpack[SamplingOptions]) -> Reply:
        """See Client.complete."""
        body = wire.completion_body(prompt, options, await self._model(options))
        return await self._reply(_COMPLETIONS, body, options)

    async def stop(self, thinking_id: str) -> int:
        """See Client.stop."""
        return wire.parse_stopping(await self._json("POST", wire.stop_path(thinking_id)))

    async def models(self) -> list[str]:
        """See Client.models."""
        return wire.parse_models(await self._json("GET", "/v1/models"))

    async def thinking_format(self) -> ThinkingFormat:
        """See Client.thinking_format."""
        return wire.parse_format(await self._json("GET", "/v1/thinking/format"))

    async def thinking_profile(self) -> dict[str, Any]:
        """See Client.thinking_profile."""
        return await self._json("GET", "/v1/thinking/profile")

    async def health(self) -> bool:
        """See Client.health."""
        try:
            return (await self._http.get("/health")).is_success
        except httpx.TransportError:
            return False
