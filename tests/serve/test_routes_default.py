"""A server with a default budget, stored responses and vLLM's scale-out routes: no way past the default."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from serve.launch import start_server
from tests.serve.conftest import Server
from tests.serve.routes import APIS, EVERY_WAY, RESPONSES, Json, sse

pytestmark = pytest.mark.slow

DEFAULT = 4
KEYS = [
    {"name": "alice", "key": "sk-alice"},
    {"name": "bob", "key": "sk-bob", "max_budget": 3},
    {"name": "carol", "key": "sk-carol", "max_budget": 0},
    {"name": "dave", "key": "sk-dave", "default_thinking": {"budget": 2}},
]
ALICE, BOB, CAROL, DAVE = ({"authorization": f"Bearer {key['key']}"} for key in KEYS)
ENDLESS = {"background": True, "max_output_tokens": 1900, "thinking": {"budget": 1800, "min_tokens": 1800}}


@pytest.fixture(scope="module")
async def more(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "keys.json").write_text(json.dumps({"keys": KEYS}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ENABLE_RESPONSES_API_STORE", "1")
        args = ["--default-thinking", f'{{"budget": {DEFAULT}}}', "--enable-scale-out"]
        args += ["--api-key-file", str(folder / "keys.json")]
        running = start_server(args=args, api_key="sk-alice", log_path=folder / "server.log")
    with running:
        async with httpx.AsyncClient(base_url=running.base_url, timeout=300, headers=ALICE) as http:
            form = (await http.get("/v1/thinking/format")).raise_for_status().json()
            yield Server(running, http, form)


@pytest.mark.parametrize(("name", "stream"), EVERY_WAY)
async def test_the_default_holds_everywhere(
    more: Server, questions: list[str], name: str, stream: bool
) -> None:
    api = APIS[name]
    reply = api.reply(await more.post(api.path, api.body(questions[0], stream)))
    assert (reply.report["budget"], reply.report["stop_cause"]) == (DEFAULT, "budget")
    assert reply.thinking_tokens == DEFAULT
    free = api.reply(await more.post(api.path, api.body(questions[0], stream, 256, thinking_budget=-1)))
    assert (free.report["budget"], free.report["stop_cause"]) == (None, "natural")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "budget"),
    [
        ({}, DEFAULT),
        ({"thinking": {"budget": 6}}, 6),
        ({"sampling_params": {"thinking_token_budget": 7}}, 7),
        ({"sampling_params": {"extra_args": {"mine": 1}}, "reasoning_budget": 8}, 8),
    ],
)
async def test_tokens_in_tokens_out(
    more: Server, questions: list[str], stream: bool, fields: Json, budget: int
) -> None:
    prompt = await more.post("/tokenize", {"messages": [{"role": "user", "content": questions[0]}]})
    sampling = {"temperature": 0, "max_tokens": 100, **fields.get("sampling_params", {})}
    body = {"token_ids": prompt.json()["tokens"], "stream": stream, **fields, "sampling_params": sampling}
    response = await more.post("/inference/v1/generate", body)
    assert response.status_code == 200, response.text
    payloads = sse(response.text) if stream else [response.json()]
    choices = [choice for payload in payloads for choice in payload["choices"]]
    tokens = [token for choice in choices for token in choice["token_ids"]]
    assert tokens[: budget + 1].count(more.open_id) == 1
    assert tokens[budget + 1 : budget + 1 + len(more.stop_ids)] == more.stop_ids
    report = choices[-1]["thinking"]
    assert (report["budget"], report["tokens"]) == (budget, budget)
    if stream:
        assert choices[0]["thinking"]["id"] == response.headers["x-thinking-id"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"include_reasoning": False}, "include_reasoning"),
        ({"sampling_params": {"extra_args": {"thinking": "{}"}}}, "extra_args.thinking"),
        ({"sampling_params": {"extra_args": 3}}, "extra_args"),
        ({"sampling_params": {"thinking_token_budget": "3"}}, "sampling_params.thinking_token_budget"),
    ],
)
async def test_tokens_route_refuses(more: Server, fields: Json, param: str) -> None:
    response = await more.post("/inference/v1/generate", {"token_ids": [1], "sampling_params": {}, **fields})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_rendering_keeps_vllms_budget_and_refuses_ours(more: Server, questions: list[str]) -> None:
    body = APIS["chat"].body(questions[0], False)
    response = await more.post("/v1/chat/completions/render", {**body, "thinking_token_budget": 9})
    assert response.status_code == 200, response.text
    assert response.json()["sampling_params"]["thinking_token_budget"] == 9
    generated = await more.post("/inference/v1/generate", response.json())
    assert generated.json()["choices"][0]["thinking"]["tokens"] == 9
    refused = await more.post("/v1/chat/completions/render", {**body, "thinking_budget": 9})
    assert refused.json()["error"]["param"] == "thinking_budget"


async def retrieved(more: Server, response_id: str) -> Json:
    """A stored response, once it is no longer being made."""
    for _ in range(300):
        payload = (await more.http.get(f"/v1/responses/{response_id}")).json()
        if payload["status"] not in ("queued", "in_progress"):
            return payload
        assert "id" in payload["thinking"]
        await asyncio.sleep(0.1)
    raise AssertionError(payload)


@pytest.mark.parametrize("hide", [{}, RESPONSES.hide])
async def test_background_responses(more: Server, questions: list[str], hide: Json) -> None:
    body = RESPONSES.body(questions[0], False, background=True, **hide)
    response = await more.post(RESPONSES.path, body)
    queued = response.json()
    assert queued["status"] == "queued"
    assert queued["thinking"] == {"id": response.headers["x-thinking-id"]}
    made = await retrieved(more, queued["id"])
    thought, answer, report, tokens, _ = RESPONSES.read([made])
    assert (report["budget"], report["tokens"], tokens) == (DEFAULT, DEFAULT, DEFAULT)
    assert bool(thought) is not bool(hide)
    assert answer


@pytest.mark.parametrize("hide", [{}, RESPONSES.hide])
async def test_stored_responses_are_replayed_as_they_were_sent(
    more: Server, questions: list[str], hide: Json
) -> None:
    body = RESPONSES.body(questions[0], True, background=True, **hide)
    sent = RESPONSES.reply(await more.post(RESPONSES.path, body))
    assert sent.report["tokens"] == DEFAULT
    response_id = sent.events[0]["response"]["id"]
    for start in (0, 3):
        replayed = await more.http.get(
            f"/v1/responses/{response_id}", params={"stream": True, "starting_after": start}
        )
        kept = [event for event in sent.events if event["sequence_number"] > start]
        assert sse(replayed.text) == kept
    assert (await more.http.get(f"/v1/responses/{response_id}")).json() == sent.events[-1]["response"]


async def test_a_background_response_can_be_stopped_until_it_ends(more: Server, questions: list[str]) -> None:
    queued = (await more.post(RESPONSES.path, RESPONSES.body(questions[0], False, **ENDLESS))).json()
    stop = f"/v1/thinking/{queued['thinking']['id']}/stop"
    assert (await more.post(stop, {})).status_code == 200
    made = await retrieved(more, queued["id"])
    assert made["thinking"]["stop_cause"] == "client"
    assert (await more.post(stop, {})).status_code == 404


@pytest.mark.parametrize(("name", "stream"), EVERY_WAY)
async def test_keys_have_ceilings_and_defaults(
    more: Server, questions: list[str], name: str, stream: bool
) -> None:
    api = APIS[name]
    for headers, asked, report in (
        (BOB, {"thinking_budget": 6}, {"budget": 3, "requested_budget": 6, "lowered_by": "ceiling"}),
        (BOB, {"thinking_budget": 2}, {"budget": 2}),
        (CAROL, {"thinking_budget": -1}, {"budget": 0, "stop_cause": "disabled"}),
        (DAVE, {}, {"budget": 2}),
        (DAVE, {"thinking_budget": 6}, {"budget": 6}),
    ):
        body = api.body(questions[0], stream, **asked)
        reply = api.reply(await more.http.post(api.path, json=body, headers=headers))
        assert report.items() <= reply.report.items()
        assert reply.thinking_tokens <= report["budget"]


async def test_what_a_key_made_is_its_own(more: Server, questions: list[str]) -> None:
    """For another key it does not exist: not to read, cancel, go on from or stop."""
    body = RESPONSES.body(questions[0], False, **ENDLESS)
    response = await more.http.post(RESPONSES.path, json=body, headers={**ALICE, "x-thinking-id": "mine"})
    made = response.json()
    assert made["thinking"] == {"id": "mine"}
    path, stop = f"/v1/responses/{made['id']}", "/v1/thinking/mine/stop"
    further = {**RESPONSES.body("And?", False), "previous_response_id": made["id"]}
    for reply in (
        await more.http.get(path, headers=BOB),
        await more.http.post(f"{path}/cancel", headers=BOB),
        await more.http.post(RESPONSES.path, json=further, headers=BOB),
        await more.http.post(stop, headers=BOB),
    ):
        assert reply.status_code == 404
        assert reply.json()["error"]["code"] == 404
    taken = await more.http.post(RESPONSES.path, json=body, headers={**ALICE, "x-thinking-id": "mine"})
    assert taken.status_code == 400
    assert taken.json()["error"]["param"] == "x-thinking-id"
    assert (await more.post(stop, {})).status_code == 200
    assert (await more.http.get(path)).status_code == 200


async def test_unknown_stored_response(more: Server) -> None:
    missing: dict[str, Any] = (await more.http.get("/v1/responses/resp_0")).json()
    assert missing["error"]["code"] == 404
