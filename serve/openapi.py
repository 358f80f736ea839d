"""The OpenAPI document: FastAPI's, made true for this server.

FastAPI derives requests from vLLM's models. What it cannot know is put in here: which routes we vouch for,
what their responses hold, our own fields, and every status that occurs.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from vllm.entrypoints.anthropic.protocol import (
    AnthropicCountTokensResponse,
    AnthropicErrorResponse,
    AnthropicMessagesResponse,
)
from vllm.entrypoints.openai.chat_completion.protocol import (
    ChatCompletionResponse,
)
from vllm.entrypoints.openai.completion.protocol import CompletionResponse
from vllm.entrypoints.openai.responses.protocol import ResponsesResponse
from vllm.entrypoints.serve.engine.protocol import ErrorResponse, ModelList
from vllm.entrypoints.serve.tokenize.protocol import DetokenizeResponse, TokenizeResponse

from serve.schemas import (
    PROFILE,
    REASONING_TOKENS,
    REPORT,
    REPORT_OR_ID,
    REPORT_PARTS,
    Schema,
    request_fields,
)

COMPONENTS = "#/components/schemas/"
OUR_MODELS = f"{COMPONENTS}reply."
"""Prefix of response models: their names are not to be confused with those of requests."""

JSON = "application/json"
EVENTS = "text/event-stream"
STATUSES = {
    400: "The request is wrong; the error names the field.",
    401: "No known API key.",
    404: "The model, or what the path names, does not exist.",
    405: "The route has no such method.",
    413: "The body is longer than the server's --max-request-bytes.",
    429: "The API key has as many requests running as it may.",
    500: "The engine failed.",
    501: "The served model cannot do that.",
    503: "The server is ending, or its queue is full.",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """What a documented route answers.

    reply: model or schema of a 200; None if it has no body. streams: it may be server-sent events instead.
    asks: takes the fields that ask something of thinking. statuses: of errors beside those of the gate.
    """

    summary: str
    reply: type[BaseModel] | Schema | None
    streams: bool = False
    asks: bool = False
    statuses: tuple[int, ...] = ()


FORMAT: Schema = {
    "type": "object",
    "properties": {"model": {"type": "string"}},
    "required": ["model"],
    "description": "Its tags, the early-stop text and their token ids.",
}
STOPPED: Schema = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "stopping": {"type": "integer", "minimum": 0}},
    "required": ["id", "stopping"],
    "description": "How many choices were still thinking.",
}
VERSION: Schema = {"type": "object", "properties": {"version": {"type": "string"}}, "required": ["version"]}
TEXT: Schema = {"type": "string"}
STREAMED = (
    "As asked; with `stream`, server-sent events as the API documents them. As `thinking` the first has the "
    "id to stop it by, and the last of each choice its report."
)
GENERATES = (400, 404, 500, 501, 503)

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("post", "/v1/chat/completions"): Operation(
        "Chat",
        ChatCompletionResponse,
        streams=True,
        asks=True,
        statuses=GENERATES,
    ),
    ("post", "/v1/chat/completions/batch"): Operation(
        "Several chats in one request", ChatCompletionResponse, asks=True, statuses=GENERATES
    ),
    ("post", "/v1/completions"): Operation(
        "Text completion",
        CompletionResponse,
        streams=True,
        asks=True,
        statuses=GENERATES,
    ),
    ("post", "/v1/responses"): Operation(
        "OpenAI's responses", ResponsesResponse, streams=True, asks=True, statuses=GENERATES
    ),
    ("get", "/v1/responses/{response_id}"): Operation(
        "A stored response", ResponsesResponse, streams=True, statuses=(400, 404, 500)
    ),
    ("post", "/v1/responses/{response_id}/cancel"): Operation(
        "End a response in the background", ResponsesResponse, statuses=(400, 404, 500)
    ),
    ("post", "/v1/messages"): Operation(
        "Anthropic's messages", AnthropicMessagesResponse, streams=True, asks=True, statuses=GENERATES
    ),
    ("post", "/v1/messages/count_tokens"): Operation(
        "Count the tokens of a message", AnthropicCountTokensResponse, asks=True, statuses=(400, 404, 500)
    ),
    ("post", "/v1/thinking/{thinking_id}/stop"): Operation(
        "Answer now: end the thinking of a running request", STOPPED, statuses=(404,)
    ),
    ("get", "/v1/thinking/format"): Operation("How the served model writes its thinking", FORMAT),
    ("get", "/v1/thinking/profile"): Operation(
        "Measured accuracy by budget, and the budgets of effort levels", PROFILE, statuses=(404,)
    ),
    ("get", "/v1/models"): Operation("The served models", ModelList),
    ("post", "/tokenize"): Operation("Text or chat to token ids", TokenizeResponse, statuses=(400, 404, 500)),
    ("post", "/detokenize"): Operation("Token ids to text", DetokenizeResponse, statuses=(400, 404, 500)),
    ("get", "/health"): Operation("Whether requests are taken", None, statuses=(503,)),
    ("get", "/metrics"): Operation("Metrics in Prometheus's text format", TEXT),
    ("get", "/version"): Operation("vLLM's version", VERSION),
}


def install(app: FastAPI, *, keys: bool) -> None:
    """Have `app` serve the document. keys: the server asks for API keys."""
    fastapis: Callable[[], dict[str, Any]] = app.openapi
    found: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not found:
            found.update(document(fastapis(), keys=keys))
        return found

    app.openapi = openapi  # type: ignore[method-assign]


def document(source: dict[str, Any], *, keys: bool) -> dict[str, Any]:
    """The true document, from FastAPI's."""
    models = {operation.reply for operation in OPERATIONS.values() if isinstance(operation.reply, type)} | {
        ErrorResponse,
        AnthropicErrorResponse,
    }
    _, definitions = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template=OUR_MODELS + "{model}",
    )
    schemas = {**source["components"]["schemas"]}
    schemas |= {f"reply.{name}": schema for name, schema in definitions["$defs"].items()}
    _add_reports(schemas)
    paths: dict[str, Any] = {}
    for (method, path), operation in OPERATIONS.items():
        if method in source["paths"].get(path, {}):
            paths.setdefault(path, {})[method] = _operation(
                source["paths"][path][method], method, path, operation, schemas, keys
            )
    components: dict[str, Any] = {"schemas": schemas}
    made: dict[str, Any] = {
        "openapi": source["openapi"],
        "info": {
            "title": "thinkdial",
            "version": version("thinkdial"),
            "description": "vLLM's API with thinking budgets that are exact to the token.",
        },
        "paths": paths,
        "components": components,
    }
    if keys:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }
        made["security"] = [{"bearer": []}, {"header": []}]
    _prune(made)
    return made


def _operation(
    source: Schema, method: str, path: str, operation: Operation, schemas: dict[str, Schema], keys: bool
) -> Schema:
    made = {
        "summary": operation.summary,
        "operationId": f"{method}_{re.sub(r'[^a-z0-9]+', '_', path).strip('_')}",
        "responses": _responses(path, method, operation, keys),
    }
    made |= {name: source[name] for name in ("parameters", "requestBody") if name in source}
    if operation.asks:
        reference = source["requestBody"]["content"][JSON]["schema"]["$ref"].removeprefix(COMPONENTS)
        schema = schemas[reference]
        schemas[reference] = {**schema, "properties": {**schema["properties"], **request_fields(path)}}
    if keys and path == "/health":
        made["security"] = []
    return made


def _responses(path: str, method: str, operation: Operation, keys: bool) -> Schema:
    statuses = set(operation.statuses)
    if keys and path != "/health":
        statuses |= {401, *((429,) if method == "post" else ())}
    if method == "post":
        statuses.add(413)
    if path != "/metrics":
        statuses.add(503)
    good: Schema = {"description": "As asked."}
    if operation.asks and "count" not in path:
        good["headers"] = {
            "x-thinking-id": {
                "description": "The id of POST /v1/thinking/{id}/stop while this response is made.",
                "schema": {"type": "string"},
            }
        }
    if isinstance(operation.reply, type):
        good["content"] = {JSON: {"schema": {"$ref": OUR_MODELS + operation.reply.__name__}}}
    elif operation.reply is not None:
        kind = "text/plain" if operation.reply is TEXT else JSON
        good["content"] = {kind: {"schema": operation.reply}}
    if operation.streams:
        # The schema of one event has no place in OpenAPI 3.1.
        good["content"][EVENTS] = {}
        good["description"] = STREAMED
    found: Schema = {"200": good}
    for status in sorted(statuses):
        found[str(status)] = {"description": STATUSES[status]}
        if path != "/health":
            found[str(status)]["content"] = {JSON: {"schema": _error(path)}}
    return found


def _error(path: str) -> Schema:
    openais: Schema = {"$ref": f"{OUR_MODELS}ErrorResponse"}
    if not path.startswith("/v1/messages"):
        return openais
    return {"anyOf": [{"$ref": f"{OUR_MODELS}AnthropicErrorResponse"}, openais]}


def _add_reports(schemas: dict[str, Schema]) -> None:
    """What serve.http adds to vLLM's responses."""
    schemas |= REPORT_PARTS
    schemas["ThinkingReport"] = REPORT
    schemas["Thinking"] = REPORT_OR_ID
    thinking: Schema = {"$ref": f"{COMPONENTS}Thinking"}
    for name in (
        "ChatCompletionResponseChoice",
        "CompletionResponseChoice",
        "ResponsesResponse",
        "AnthropicMessagesResponse",
    ):
        schemas[f"reply.{name}"]["properties"]["thinking"] = thinking
    schemas["reply.ChatMessage"]["properties"]["reasoning_content"] = {"type": ["string", "null"]}
    counted: Schema = {"type": "object", "properties": {"reasoning_tokens": REASONING_TOKENS}}
    schemas["reply.UsageInfo"]["properties"]["completion_tokens_details"] = {
        "anyOf": [counted, {"type": "null"}]
    }
    schemas["reply.AnthropicUsage"]["properties"]["output_tokens_details"] = {
        "type": "object",
        "properties": {"thinking_tokens": REASONING_TOKENS},
    }


def _prune(made: dict[str, Any]) -> None:
    """Drop the schemas that nothing refers to."""
    schemas = made["components"]["schemas"]
    needed: set[str] = set()
    waiting = set(_references(made["paths"]))
    while waiting:
        name = waiting.pop()
        needed.add(name)
        waiting |= set(_references(schemas[name])) - needed
    made["components"]["schemas"] = {name: schemas[name] for name in sorted(needed)}


def _references(value: Any) -> Iterable[str]:
    """Names of the schemas that `value` refers to."""
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(COMPONENTS)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
