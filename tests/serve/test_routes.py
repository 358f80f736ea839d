"""Budgets, reports, usage and hidden thinking on every route that generates; other routes refuse a budget."""

from typing import Any

import pytest

from serve import http
from serve.budget import RequestError
from serve.live import LiveRequests
from serve.trace import LiveThinking
from tests.serve.conftest import Server
from tests.serve.routes import (
    APIS,
    EVERY_PARSED_WAY,
    EVERY_WAY,
    INVOCATIONS,
    MESSAGES,
    RESPONSES,
    Api,
    Json,
    Reply,
    sse,
)

BUDGET = 5
LITERALS = "a <think> b </think> c <|im_end|> d <|im_start|>system\ne <|endoftext|></think>"
TAGLESS = {"model": "thinkdial-default", "max_tokens": 24, "temperature": 0}
"""A prefilled reply goes on without an open tag, so there is no thinking."""


async def ask_api(ask: Server, api: Api, text: str, stream: bool, **more: Any) -> Reply:
    return api.reply(await ask.post(api.path, api.body(text, stream, **more)))


@pytest.mark.parametrize(("name", "stream"), EVERY_WAY)
async def test_a_budget_holds_everywhere(ask: Server, questions: list[str], name: str, stream: bool) -> None:
    """In each API's own words; the reply is the one of a chat, which other tests hold to the token."""
    reference = (await ask.chat(questions[0], temperature=0, max_tokens=128, thinking_budget=BUDGET)).choices[
        0
    ]
    assert reference.thinking["stop_cause"] == "budget"
    api = APIS[name]
    reply = await ask_api(ask, api, questions[0], stream, **api.limit(BUDGET))
    assert (reply.thought, reply.answer) == (reference.reasoning, reference.content)
    for member in ("stop_cause", "budget", "tokens", "inserted_tokens"):
        assert reply.report[member] == reference.thinking[member]
    assert reply.thinking_tokens == BUDGET
    assert reply.first_id == (reply.header_id if stream else None)


@pytest.mark.parametrize(("name", "stream"), EVERY_WAY)
async def test_a_reply_without_a_budget_is_reported_too(
    ask: Server, questions: list[str], name: str, stream: bool
) -> None:
    reply = await ask_api(ask, APIS[name], questions[0], stream, max_tokens=256)
    assert reply.report["stop_cause"] == "natural"
    assert reply.report["budget"] is None
    assert reply.report["tokens"] == reply.thinking_tokens > BUDGET
    assert reply.thought
    assert reply.answer


@pytest.mark.parametrize(("name", "stream"), EVERY_WAY)
async def test_thinking_off(ask: Server, questions: list[str], name: str, stream: bool) -> None:
    for off in ({"enable_thinking": False}, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}):
        reply = await ask_api(ask, APIS[name], questions[0], stream, **off)
        assert reply.thought.strip() == ""
        assert reply.answer
        assert (reply.report["stop_cause"], reply.report["tokens"]) == ("disabled", 0)
        assert reply.thinking_tokens == 0


@pytest.mark.parametrize(("name", "stream"), EVERY_PARSED_WAY)
async def test_hidden_thinking(ask: Server, questions: list[str], name: str, stream: bool) -> None:
    """What is hidden is not sent, but budgeted and counted; the answer is the same."""
    api = APIS[name]
    shown = await ask_api(ask, api, questions[0], stream, thinking_token_budget=BUDGET)
    hidden = await ask_api(ask, api, questions[0], stream, thinking_token_budget=BUDGET, **api.hide)
    assert shown.thought
    assert hidden.thought == ""
    assert hidden.answer == shown.answer
    assert hidden.thinking_tokens == BUDGET
    assert hidden.report["stop_cause"] == "budget"
    if stream and name == "chat":
        middle = [payload["choices"][0]["delta"] for payload in hidden.events[1:-2]]
        assert all(any(delta.values()) for delta in middle)
    for word in ("Considering", "limited time"):
        assert word in str(shown.events)
        assert word not in str(hidden.events)


async def test_hidden_thinking_and_a_json_schema(ask: Server, questions: list[str]) -> None:
    """vLLM's own include_reasoning=false would bind the thinking to the schema."""
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    answer = await ask.chat(
        questions[0],
        temperature=0,
        thinking_budget=BUDGET,
        include_reasoning=False,
        return_token_ids=False,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    (choice,) = answer.choices
    assert choice.thinking["tokens"] == BUDGET
    assert choice.reasoning == ""
    assert choice.content.strip().startswith("{")


async def test_tokens_of_hidden_thinking_are_not_given(ask: Server) -> None:
    body = {"messages": [{"role": "user", "content": "1"}], "include_reasoning": False, "logprobs": True}
    response = await ask.post("/v1/chat/completions", body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "logprobs"


@pytest.mark.parametrize(("name", "stream"), [way for way in EVERY_PARSED_WAY if way[0] != "messages"])
@pytest.mark.parametrize("hidden", [False, True])
async def test_a_reply_without_tags_is_text(
    ask: Server, questions: list[str], name: str, stream: bool, hidden: bool
) -> None:
    """Where the model may open no block, all that it says is answer."""
    bias = {"logit_bias": {str(token): -100 for token in (ask.open_id, ask.close_id)}}
    reference = await ask.chat(questions[0], temperature=0, max_tokens=24, **bias)
    hide = APIS[name].hide if hidden else {}
    reply = await ask_api(ask, APIS[name], questions[0], stream, max_tokens=24, **bias, **hide)
    assert (reply.thought, reply.answer) == ("", reference.choices[0].content)
    assert reply.report["tokens"] == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("hide", [{}, MESSAGES.hide])
async def test_a_prefilled_reply_is_text(ask: Server, questions: list[str], stream: bool, hide: Json) -> None:
    turns = [{"role": "user", "content": questions[0]}, {"role": "assistant", "content": "The answer"}]
    body = {**TAGLESS, "messages": turns, "stream": stream, **hide}
    reply = MESSAGES.reply(await ask.post(MESSAGES.path, body))
    assert reply.thought == ""
    assert reply.answer
    assert reply.report["tokens"] == 0


@pytest.mark.parametrize("name", [name for name, stream in EVERY_PARSED_WAY if not stream])
async def test_text_before_a_stray_close_tag_is_text(ask: Server, questions: list[str], name: str) -> None:
    turns = [{"role": "user", "content": questions[0]}, {"role": "assistant", "content": "The answer"}]
    body: Json = {**TAGLESS, "messages": turns}
    if name == "responses":
        body = {**TAGLESS, "max_output_tokens": 24, "input": turns}
    elif name == "batch":
        body["messages"] = [turns]
    if name != "messages":
        body["logit_bias"] = {str(ask.open_id): -100, str(ask.close_id): 5}
    reply = APIS[name].reply(await ask.post(APIS[name].path, body))
    assert reply.thought == ""
    assert reply.answer
    assert reply.report["tokens"] == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_choices_are_told_apart(ask: Server, questions: list[str], stream: bool) -> None:
    body = {"n": 2, "seed": 1, "temperature": 1, "thinking_budget": BUDGET, "max_tokens": 96}
    answer = await ask.chat(questions[0], stream=stream, **body)
    assert answer.usage["completion_tokens_details"]["reasoning_tokens"] == sum(
        choice.thinking["tokens"] for choice in answer.choices
    )


async def test_continuous_usage_counts_what_has_been_thought(ask: Server, questions: list[str]) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = APIS["chat"].body(questions[0], True, thinking_budget=BUDGET, stream_options=options)
    reply = APIS["chat"].reply(await ask.post("/v1/chat/completions", body))
    usages = [payload["usage"] for payload in reply.events]
    counts = [usage["completion_tokens_details"]["reasoning_tokens"] for usage in usages]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, BUDGET)


@pytest.mark.parametrize("text", ["1", LITERALS])
async def test_every_api_asks_the_model_the_same(ask: Server, text: str) -> None:
    """Control tokens written out in a message are text in every API."""
    chat = (await ask.chat(text, max_tokens=1)).usage["prompt_tokens"]
    for api, member in (
        (RESPONSES, "input_tokens"),
        (MESSAGES, "input_tokens"),
        (INVOCATIONS, "prompt_tokens"),
    ):
        response = await ask.post(api.path, api.body(text, False, max_tokens=1))
        assert response.json()["usage"][member] == chat


async def test_hidden_thinking_of_earlier_turns_may_come_back(ask: Server, questions: list[str]) -> None:
    """Clients of /v1/messages return the blocks they got, as Anthropic asks of them."""
    body = MESSAGES.body(questions[0], False, 200, **MESSAGES.hide)
    first = (await ask.post(MESSAGES.path, body)).json()
    assert [block["type"] for block in first["content"]] == ["thinking", "text"]
    counts = []
    for kept in (first["content"], first["content"][1:]):
        turns = [*body["messages"], {"role": "assistant", "content": kept}, *body["messages"]]
        reply = await ask.post(MESSAGES.path, {**body, "messages": turns})
        assert reply.status_code == 200, reply.text
        counts.append(reply.json()["usage"]["input_tokens"])
    assert counts[0] == counts[1]


@pytest.mark.parametrize("path", sorted({*http.ROUTES, http.INVOCATIONS} - {"/inference/v1/generate"}))
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"reasoning": {"max_tokens": -2}}, "reasoning.max_tokens"),
        ({"reasoning_effort": "hard"}, "reasoning_effort"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9.5}}, "thinking.budget_tokens"),
        ({"thinking": {"bugdet": 9}}, "thinking.bugdet"),
        ({"thinking_bugdet": 9}, "thinking_bugdet"),
        ({"vllm_xargs": {"thinking": "{}"}}, "vllm_xargs.thinking"),
    ],
)
async def test_wrong_fields_are_named(ask: Server, path: str, fields: Json, param: str) -> None:
    response = await ask.post(path, {**fields, "messages": [], "prompt": "", "input": ""})
    assert response.status_code == 400
    payload = response.json()
    assert param in payload["error"]["message"]
    if path == "/v1/messages":
        assert (payload["type"], payload["error"]["type"]) == ("error", "invalid_request_error")
    else:
        assert (payload["error"]["param"], payload["error"]["code"]) == (param, 400)


async def test_a_field_name_that_utf8_cannot_say(ask: Server) -> None:
    body = b'{"messages": [], "think\\ud800": 1}'
    headers = {"content-type": "application/json"}
    response = await ask.http.post("/v1/chat/completions", content=body, headers=headers)
    assert response.status_code == 400
    assert "think\\ud800" in response.text


@pytest.mark.parametrize(
    "path",
    [
        "/tokenize",
        "/detokenize",
        "/generative_scoring",
        "/v1/systemone",
        "/ping",
        "/scale_elastic_ep",
        "/v1/thinking/think-0/stop",
        "/not/there",
    ],
)
async def test_other_routes_refuse_a_budget(ask: Server, path: str) -> None:
    """A field that a handler does not know would be dropped in silence."""
    response = await ask.post(path, {"thinking_budget": 9})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "thinking_budget"


async def test_a_template_may_be_told_of_thinking(ask: Server) -> None:
    """What a handler knows passes: here the prompt that a chat without thinking would have."""
    turns = [{"role": "user", "content": "1"}]
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    tokens = (await ask.post("/tokenize", {"messages": turns, **off})).json()["tokens"]
    answer = await ask.chat("1", max_tokens=1, thinking_budget=0)
    assert tokens == answer.prompt_token_ids


async def test_counting_tokens(ask: Server) -> None:
    body = {"model": ask.model, "messages": [{"role": "user", "content": "1"}]}
    counts = [
        (await ask.post(http.COUNT_TOKENS, {**body, "thinking": thinking})).json()["input_tokens"]
        for thinking in (None, {"type": "enabled", "budget_tokens": 9}, {"type": "disabled"})
    ]
    assert counts[0] == counts[1] < counts[2]  # the empty block is in the prompt
    wrong = await ask.post(http.COUNT_TOKENS, {**body, "thinking": {"type": "off"}})
    assert wrong.status_code == 400
    assert "thinking.type" in wrong.json()["error"]["message"]


async def test_stop_of_an_unknown_request(ask: Server) -> None:
    finished = (await ask_api(ask, APIS["chat"], "1", False, max_tokens=1)).header_id
    for thinking_id in ("think-0", finished):
        response = await ask.post(f"/v1/thinking/{thinking_id}/stop", {})
        assert response.status_code == 404
        assert response.json()["error"]["code"] == 404
        assert thinking_id in response.json()["error"]["message"]


@pytest.mark.parametrize("name", ["chat", "completions", "responses", "messages"])
async def test_answer_now(ask: Server, questions: list[str], name: str) -> None:
    """The id is in the header and in the first event; it is good as long as the request runs."""
    api = APIS[name]
    endless: Json = {"logit_bias": {str(ask.close_id): -100}}
    if name == "messages":  # which has no biases
        endless = {"thinking": {"min_tokens": 1500}}
    body = api.body(questions[0], True, max_tokens=1900, **endless)
    async with ask.http.stream("POST", api.path, json=body) as response:
        thinking_id = response.headers["x-thinking-id"]
        pieces = response.aiter_text()
        text = ""
        while text.count("\n\n") < 12:
            text += await anext(pieces)
        stopped = await ask.post(f"/v1/thinking/{thinking_id}/stop", {})
        async for piece in pieces:
            text += piece
    assert stopped.status_code == 200
    assert stopped.json() == {"id": thinking_id, "stopping": 1}
    _, answer, report, tokens, first_id = api.read(sse(text))
    assert first_id == thinking_id
    assert report["stop_cause"] == "client"
    assert report["tokens"] == tokens < 1500
    assert answer.strip()
    assert (await ask.post(f"/v1/thinking/{thinking_id}/stop", {})).status_code == 404


def test_a_request_belongs_to_its_key() -> None:
    requests = LiveRequests()
    alices, bobs = LiveThinking(), LiveThinking()
    thinking_id = requests.add(alices, "alice")
    assert requests.find(thinking_id, "alice") is alices
    assert requests.find(thinking_id, "bob") is None
    assert requests.find(thinking_id, None) is None
    assert requests.add(bobs, "bob", thinking_id) == thinking_id
    with pytest.raises(RequestError, match="unused"):
        requests.add(bobs, "bob", thinking_id)
    requests.remove(thinking_id, "alice")
    assert requests.find(thinking_id, "alice") is None
    assert requests.find(thinking_id, "bob") is bobs
