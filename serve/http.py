"""The HTTP side of thinking budgets: request fields in, `thinking` reports and exact usage out.

ASGI middleware around vLLM's own handlers. It rewrites the JSON body of a request and the JSON or SSE body of
its response, and leaves every other route alone.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from serve.budget import RequestError, ThinkingBudget
from serve.dialects import normalise_request
from serve.engine import LIVE, THINKING_ARG, ThinkingEngine
from serve.trace import LiveThinking

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ROUTES = {
    "/v1/chat/completions": "chat",
    "/v1/chat/completions/batch": "batch",
    "/v1/completions": "completions",
}
INVOCATIONS = "/invocations"
"""SageMaker's route: either of the others, told apart by the body."""

router = APIRouter()


@router.get("/v1/thinking/format")
async def thinking_format(request: Request) -> JSONResponse:
    """How the served model writes its thinking, and what is inserted at a cut."""
    state = request.app.state
    model = state.openai_serving_models.base_model_paths[0].name
    engine: ThinkingEngine = state.engine_client
    described = engine.thinking_format.describe(model)
    return JSONResponse({**described, "default_budget": engine.default_thinking.budget})


class ThinkingMiddleware:
    """Budgets in requests, reports in responses."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", "").rstrip("/"))
        if (
            scope["type"] != "http"
            or scope["method"] != "POST"
            or (path not in ROUTES and path != INVOCATIONS)
        ):
            await self.app(scope, receive, send)
            return
        raw = await _read_body(receive)
        try:
            body = json.loads(raw)
        except ValueError:
            body = None  # vLLM answers malformed JSON itself
        if not isinstance(body, dict):
            await self.app(scope, _replay(raw, receive), send)
            return

        route = ROUTES.get(path) or ("chat" if "messages" in body else "completions")
        try:
            body = _engine_body(body, route, scope["app"].state.engine_client)
        except RequestError as error:
            await _bad_request(error)(scope, receive, send)
            return
        raw = json.dumps(body).encode()
        headers = [(k, v) for k, v in scope["headers"] if k != b"content-length"]
        scope = {**scope, "headers": [*headers, (b"content-length", str(len(raw)).encode())]}
        live = LiveThinking()
        token = LIVE.set(live)
        reporter = _Reporter(route, max(1, body.get("n") or 1), live)
        try:
            await self.app(scope, _replay(raw, receive), _Rewriter(send, reporter))
        finally:
            LIVE.reset(token)


def _engine_body(body: dict[str, Any], route: str, engine: ThinkingEngine) -> dict[str, Any]:
    """The body that vLLM's handlers get: what is asked of thinking travels in `vllm_xargs`."""
    kind = "completions" if route == "completions" else "chat"
    asked, body = normalise_request(body, kind, engine.default_thinking)
    if asked == ThinkingBudget():
        return body
    if body.get("use_beam_search"):
        raise RequestError(
            "use_beam_search",
            "use_beam_search is true; beam search has no thinking budget, so one of them must go",
        )
    if asked.stop_text is not None:
        engine.thinking_format.encode_stop_text(asked.stop_text)
    return {**body, "vllm_xargs": {**(body.get("vllm_xargs") or {}), THINKING_ARG: asked.dumps()}}


def _bad_request(error: RequestError) -> JSONResponse:
    detail = {"message": str(error), "type": "BadRequestError", "param": error.param, "code": 400}
    return JSONResponse({"error": detail}, status_code=400)


class _Reporter:
    """Adds what the trackers know to response objects."""

    def __init__(self, route: str, n: int, live: LiveThinking) -> None:
        self.route = route
        self.n = n
        self.trackers = live.trackers

    def annotate(self, payload: dict[str, Any]) -> None:
        """Add `thinking` to finished choices, `reasoning_content` to messages, exact counts to usage."""
        choices = payload.get("choices")
        if choices is None:
            return
        for choice in choices:
            tracker = self.trackers.get(self._key(payload["id"], choice["index"]))
            message = choice.get("message") or choice.get("delta")
            if message is not None and "reasoning" in message:
                if tracker is not None and not tracker.opened and not message.get("content"):
                    # vLLM's parser takes a reply without tags for thinking.
                    message["content"], message["reasoning"] = message["reasoning"], None
                message["reasoning_content"] = message["reasoning"]
            if choice.get("finish_reason") is not None and tracker is not None:
                choice["thinking"] = tracker.report().as_dict()
        if payload.get("usage"):
            keys = {self._key(payload["id"], choice["index"]) for choice in choices if "delta" in choice}
            counted = [t for key, t in self.trackers.items() if not keys or key in keys]
            details = payload["usage"].get("completion_tokens_details") or {}
            details["reasoning_tokens"] = sum(tracker.tokens for tracker in counted)
            payload["usage"]["completion_tokens_details"] = details

    def _key(self, response_id: str, index: int) -> tuple[str, int]:
        """Request id and index that the engine saw: the handlers send one request for each prompt."""
        if self.route == "completions":
            return f"{response_id}-{index // self.n}", index % self.n
        if self.route == "batch":
            return f"{response_id}_{index}", 0
        return response_id, index


class _Rewriter:
    """An ASGI `send` that annotates JSON and server-sent-event bodies."""

    def __init__(self, send: Send, reporter: _Reporter) -> None:
        self.send = send
        self.reporter = reporter
        self.start: Message | None = None
        self.kind = ""
        self.pending = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            self.kind = headers.get(b"content-type", b"").split(b";")[0].decode()
            if self.kind == "application/json":
                self.start = message  # its content-length is known only with the whole body
                return
            await self.send(message)
        elif message["type"] == "http.response.body" and self.kind == "application/json":
            await self._json(message)
        elif message["type"] == "http.response.body" and self.kind == "text/event-stream":
            await self._events(message)
        else:
            await self.send(message)

    async def _json(self, message: Message) -> None:
        self.pending += message.get("body", b"")
        if message.get("more_body"):
            return
        payload = json.loads(self.pending)
        if isinstance(payload, dict):
            self.reporter.annotate(payload)
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        assert self.start is not None
        headers = [(k, v) for k, v in self.start["headers"] if k != b"content-length"]
        self.start["headers"] = [*headers, (b"content-length", str(len(body)).encode())]
        await self.send(self.start)
        await self.send({"type": "http.response.body", "body": body})

    async def _events(self, message: Message) -> None:
        *events, self.pending = (self.pending + message.get("body", b"")).split(b"\n\n")
        body = b"".join(self._event(event) + b"\n\n" for event in events)
        if not message.get("more_body"):
            body, self.pending = body + self.pending, b""
        if body or not message.get("more_body"):
            await self.send({**message, "body": body})

    def _event(self, event: bytes) -> bytes:
        if not event.startswith(b"data: {"):
            return event
        payload = json.loads(event.removeprefix(b"data: "))
        self.reporter.annotate(payload)
        return b"data: " + json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


async def _read_body(receive: Receive) -> bytes:
    return b"".join([chunk async for chunk in _chunks(receive)])


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body`, then what the client does next (it may leave)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
