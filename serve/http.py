"""The HTTP side of thinking budgets: request fields in, `thinking` reports and exact usage out.

ASGI middleware around vLLM's own handlers. On the routes that generate it rewrites the JSON body of a request
and the JSON or SSE body of its response; on all others it refuses fields that would be dropped in silence.
"""

import json
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, get_args

import vllm.envs as envs
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.routing import Match

from serve import live as live_requests
from serve.budget import RequestError, ThinkingBudget
from serve.counts import check_counts
from serve.dialects import SPEAKS_OF_THINKING, Normalised, Route, normalise_request
from serve.engine import LIVE, ThinkingEngine
from serve.formats import no_thinking
from serve.grants import measured_curve
from serve.job import THINKING_ARG
from serve.live import LIVE_REQUESTS, key_name
from serve.reports import (
    BatchReporter,
    ChoicesReporter,
    CompletionsReporter,
    MessagesReporter,
    Reporter,
    ResponsesReporter,
    TokensReporter,
)
from serve.rewrite import Message, Receive, Rewriter, Send, read_body, replay, with_length
from serve.trace import LiveThinking

ROUTES: dict[str, tuple[Route, type[Reporter]]] = {
    "/v1/chat/completions": ("chat", ChoicesReporter),
    "/v1/chat/completions/batch": ("chat", BatchReporter),
    "/v1/completions": ("completions", CompletionsReporter),
    "/v1/responses": ("responses", ResponsesReporter),
    "/v1/messages": ("messages", MessagesReporter),
    "/inference/v1/generate": ("tokens", TokensReporter),
}
INVOCATIONS = "/invocations"
"""SageMaker's route: a chat or a completion, told apart by the body."""
COUNT_TOKENS = "/v1/messages/count_tokens"
"""Anthropic's route that only renders a prompt; it takes what /v1/messages takes."""
STORED = "/v1/responses/"
"""Prefix of the routes of stored responses."""

NO_PROFILE = (
    "the server has no thinking profile; measure the model (thinkdial eval sweep, then profile) and serve it "
    "with --profile"
)

router = APIRouter()
router.include_router(live_requests.router)


@router.get("/v1/thinking/format")
async def thinking_format(request: Request) -> Response:
    """How the served model writes its thinking, and what is inserted at a cut."""
    state = request.app.state
    model = state.openai_serving_models.base_model_paths[0].name
    engine: ThinkingEngine = state.engine_client
    if engine.thinking_format is None:
        error = no_thinking(model)
        return _error(404, "NotFoundError", error.param, str(error))
    described = engine.thinking_format.describe(model)
    return JSONResponse({**described, "default_budget": engine.default_thinking.budget})


@router.get("/v1/thinking/profile")
async def thinking_profile(request: Request) -> Response:
    """The measured curve of the served model, and the budget of every effort level; null is no limit."""
    engine: ThinkingEngine = request.app.state.engine_client
    if engine.profile is None:
        return _error(404, "NotFoundError", "profile", NO_PROFILE)
    levels = {"none": 0, **engine.profile.overall.levels}
    return JSONResponse({**engine.profile.document, "levels": levels})


class ThinkingMiddleware:
    """Budgets in requests, reports in responses."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app
        # As long as vLLM keeps the responses themselves: until the process ends.
        self.stored: dict[str, tuple[Reporter, str | None]] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
        if path.startswith(STORED):
            await self._stored(scope, receive, send, path.removeprefix(STORED).partition("/")[0])
        elif scope["method"] == "POST" and _is_json(scope):
            raw = await read_body(receive)
            try:
                await self._post(scope, receive, send, path, raw)
            except RequestError as error:
                await _bad_request(error, path)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _post(self, scope: Message, receive: Receive, send: Send, path: str, raw: bytes) -> None:
        try:
            body = json.loads(raw)
        except RecursionError:
            raise RequestError("body", "the body is nested too deeply to be read; nest it less") from None
        except ValueError:
            body = None  # vLLM answers malformed JSON itself
        if not isinstance(body, dict):
            await self.app(scope, replay(raw, receive), send)
            return
        context = scope["app"].state.engine_client.model_config.max_model_len
        check_counts(body, context, envs.VLLM_MAX_N_SEQUENCES)
        previous = str(body.get("previous_response_id"))
        if path == "/v1/responses" and self._is_foreign(scope, previous):
            await _no_response(previous)(scope, receive, send)
            return
        if path == INVOCATIONS:
            path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        if path == COUNT_TOKENS:
            wanted = _asked(scope, body, "messages").body
        elif path in ROUTES:
            route, kind = ROUTES[path]
            asked = _asked(scope, body, route)
            wanted = _engine_body(asked, route, scope["app"].state.engine_client)
        else:
            _refuse_foreign(scope, body)
            wanted = body
        if wanted != body:
            raw = json.dumps(wanted).encode()
            scope = {**scope, "headers": with_length(scope["headers"], raw)}
        receive = replay(raw, receive)
        if path in ROUTES:
            await self._generate(scope, receive, send, kind, asked, body.get("store", True))
        else:
            await self.app(scope, receive, send)

    async def _generate(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
        kind: type[Reporter],
        asked: Normalised,
        store: object,
    ) -> None:
        """Have vLLM's handler generate, while the request can be stopped; annotate what it sends."""
        live = LiveThinking()
        owner = key_name(scope)
        wanted = dict(scope["headers"]).get(live_requests.HEADER.encode())
        thinking_id = LIVE_REQUESTS.add(live, owner, None if wanted is None else wanted.decode("latin-1"))
        reporter = kind(live, thinking_id, asked.hidden, asked.thinking.entropy)
        responses = scope["app"].state.openai_serving_responses
        shedding = scope["app"].state.engine_client.shedding
        if store and kind is ResponsesReporter and responses.enable_store:
            # From the first word on: a client may read a response that is still being made.
            reporter.on_id = lambda response_id: self.stored.update({response_id: (reporter, owner)})
        ending = ExitStack()
        ending.callback(self._forget, responses, reporter, owner)
        if shedding is not None:
            shedding.come(live.arrival, live)
            ending.callback(shedding.read, live)
        token = LIVE.set(live)
        rewriter = Rewriter(send, reporter, ending.close)
        try:
            await self.app(scope, receive, rewriter)
        except Exception:
            await rewriter.fail()
            raise
        finally:
            LIVE.reset(token)
            ending.close()

    def _forget(self, responses: Any, reporter: Reporter, owner: str | None) -> None:
        """End the life of a request's id, with its reply or with its task in the background."""
        background = responses.background_tasks.get(reporter.response_id)
        if background is None:
            LIVE_REQUESTS.remove(reporter.thinking_id, owner)
        else:
            background.add_done_callback(lambda _: LIVE_REQUESTS.remove(reporter.thinking_id, owner))

    async def _stored(self, scope: Message, receive: Receive, send: Send, response_id: str) -> None:
        """Read or cancel a stored response; those of other API keys do not exist."""
        if self._is_foreign(scope, response_id):
            await _no_response(response_id)(scope, receive, send)
        elif response_id in self.stored:
            reporter, _ = self.stored[response_id]
            await self.app(scope, receive, Rewriter(send, reporter))
        else:
            await self.app(scope, receive, send)

    def _is_foreign(self, scope: Message, response_id: str) -> bool:
        """Whether a response is stored that another API key made."""
        return response_id in self.stored and self.stored[response_id][1] != key_name(scope)


def _default(scope: Message) -> ThinkingBudget:
    """What holds for a request that asks for nothing: its API key's default, or the server's."""
    default: ThinkingBudget = scope["app"].state.engine_client.default_thinking
    key = scope.get(live_requests.KEY)
    if key is None:
        return default
    return replace(key.default or default, ceiling=key.max_budget)


def _asked(scope: Message, body: dict[str, Any], route: Route) -> Normalised:
    """What a request asks. Of a model without thinking it may ask not to think, or an effort."""
    state = scope["app"].state
    form, default = state.engine_client.thinking_format, _default(scope)
    asked = normalise_request(body, route, default, form)
    if form is not None:
        measured_curve(asked.thinking, state.engine_client.profile)
        return asked
    wish = replace(asked.thinking, ceiling=None, effort=None)
    if asked.thinking != default and wish not in (ThinkingBudget(), ThinkingBudget(0)):
        raise no_thinking(state.openai_serving_models.base_model_paths[0].name)
    return asked._replace(thinking=ThinkingBudget())


def _engine_body(asked: Normalised, route: Route, engine: ThinkingEngine) -> dict[str, Any]:
    """The body that vLLM's handlers get: what is asked of thinking travels in `SamplingParams.extra_args`."""
    thinking, body, _ = asked
    holder, place = body, "vllm_xargs"
    if route == "tokens":
        if not isinstance(body.get("sampling_params"), dict):
            return body  # vLLM refuses it
        holder, place = body["sampling_params"], "extra_args"
    extra = holder.get(place)
    if isinstance(extra, dict) and THINKING_ARG in extra:
        name = f"{place}.{THINKING_ARG}"
        raise RequestError(name, f"{name} is the server's own; give {THINKING_ARG} at the top level")
    if thinking == ThinkingBudget():
        return body
    if extra is not None and not isinstance(extra, dict):
        raise RequestError(place, f"{place} is {extra!r}; it must be an object")
    if body.get("use_beam_search"):
        raise RequestError(
            "use_beam_search",
            "use_beam_search is true; beam search has no thinking budget, so one of them must go",
        )
    if thinking.stop_text is not None:
        engine.form.encode_stop_text(thinking.stop_text)
    carried = {**holder, place: {**(extra or {}), THINKING_ARG: thinking.dumps()}}
    return {**body, "sampling_params": carried} if route == "tokens" else carried


def _refuse_foreign(scope: Message, body: Iterable[str]) -> None:
    """Refuse fields that speak of thinking on a route whose handler does not know them."""
    foreign = [name for name in body if SPEAKS_OF_THINKING.search(name)]
    if foreign:
        known = _known_fields(scope)
        for name in foreign:
            if name not in known:
                raise RequestError(
                    name,
                    f"{name} has no meaning on this route; thinking is budgeted on {', '.join(ROUTES)}",
                )


def _known_fields(scope: Message) -> set[str]:
    """Fields of the request models of the route that a request matches."""
    names: set[str] = set()
    for route in scope["app"].routes:
        if isinstance(route, APIRoute) and route.matches(scope)[0] == Match.FULL:
            for parameter in route.dependant.body_params:
                annotation = parameter.field_info.annotation
                for model in get_args(annotation) or (annotation,):
                    names |= set(getattr(model, "model_fields", {}))
    return names


def _is_json(scope: Message) -> bool:
    kind = dict(scope["headers"]).get(b"content-type", b"")
    return kind.split(b";")[0].strip().lower() == b"application/json"


def _bad_request(error: RequestError, path: str) -> Response:
    if path.startswith("/v1/messages"):
        detail = {"type": "invalid_request_error", "message": str(error)}
        return _json({"type": "error", "error": detail}, 400)
    return _error(400, "BadRequestError", error.param, str(error))


def _no_response(response_id: str) -> Response:
    """As vLLM answers for a stored response that it does not have."""
    message = f"Response with id '{response_id}' not found."
    return _error(404, "invalid_request_error", "response_id", message)


def _error(status: int, kind: str, param: str, message: str) -> Response:
    return _json({"error": {"message": message, "type": kind, "param": param, "code": status}}, status)


def _json(content: dict[str, Any], status: int) -> Response:
    """As ASCII: a field's name may hold half a surrogate pair, which UTF-8 cannot say."""
    return Response(json.dumps(content), status, media_type="application/json")
