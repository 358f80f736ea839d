"""A server with keys, limits and JSON logs: who gets in, what is counted, what is written, how it ends."""

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve.launch import RunningServer, start_server

pytestmark = pytest.mark.slow

MAX_BYTES = 20_000
ALICE, BOB, CAROL = "sk-alice-0123456789", "sk-bob-0123456789", "sk-carol-0123456789"
SECRET_TEXT = "tell nobody about the crown jewels"
CHAT = "/v1/chat/completions"
ENDLESS = {"messages": [{"role": "user", "content": "1"}], "ignore_eos": True, "stream": True}


def auth(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("guarded")
    keys = [
        {"name": "alice", "key": ALICE, "max_budget": 8},
        {"name": "bob", "sha256": hashlib.sha256(BOB.encode()).hexdigest(), "max_concurrent_requests": 1},
    ]
    (folder / "keys.json").write_text(json.dumps({"keys": keys}))
    flags = ["--api-key-file", str(folder / "keys.json"), "--api-key", CAROL]
    flags += ["--max-request-bytes", str(MAX_BYTES), "--log-format", "json"]
    with start_server(args=flags, api_key=ALICE, log_path=folder / "server.log") as server:
        yield server


@pytest.fixture(scope="module")
async def http(guarded: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=guarded.base_url, timeout=60) as client:
        yield client


async def metrics(http: httpx.AsyncClient) -> dict[tuple[str, str], float]:
    """Our samples, by name and first label value."""
    text = (await http.get("/metrics", headers=auth(ALICE))).text
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for sample in samples
        if sample.name.startswith("thinkdial_")
    }


def chat(**body: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": SECRET_TEXT}], "max_tokens": 200, **body}


ROUTES = [
    ("GET", "/v1/models"),
    ("GET", "/metrics"),
    ("GET", "/version"),
    ("GET", "/load"),
    ("GET", "/ping"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/thinking/format"),
    ("GET", "/no/such/route"),
    ("OPTIONS", "/v1/models"),
    ("POST", "/tokenize"),
    ("POST", "/invocations"),
    ("POST", "/inference/v1/generate"),
    ("POST", CHAT),
    ("POST", "//v1/models"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_needs_a_key(http: httpx.AsyncClient, method: str, path: str) -> None:
    for headers in ({}, auth("sk-wrong"), {"authorization": ALICE}, auth(ALICE + "x"), {"x-api-key": ""}):
        refused = await http.request(method, path, headers=headers)
        assert refused.status_code == 401, headers
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["error"]["type"] == "AuthenticationError"
    for headers in (auth(ALICE), {"x-api-key": CAROL}):
        assert (await http.request(method, path, headers=headers)).status_code != 401


async def test_health_and_preflights_need_none(http: httpx.AsyncClient) -> None:
    assert (await http.get("/health")).status_code == 200
    asks = {"origin": "http://x", "access-control-request-method": "POST"}
    assert (await http.options(CHAT, headers=asks)).status_code in (200, 400)
    assert (await http.get("/v1/models", headers=asks)).status_code == 401


async def test_errors_in_anthropics_shape(http: httpx.AsyncClient) -> None:
    refused = await http.post("/v1/messages", json={})
    assert refused.json()["error"]["type"] == "authentication_error"
    assert refused.json()["type"] == "error"


@pytest.mark.parametrize("key", ["", BOB])
def test_a_websocket_needs_a_key_too(guarded: RunningServer, key: str) -> None:
    """There is no websocket route for this model; the log tells who was refused by the gate."""
    host, port = guarded.base_url.removeprefix("http://").split(":")
    handshake = (
        f"GET /v1/realtime HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"x-api-key: {key}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(handshake.encode())
        assert client.recv(1000).split()[1] == b"403"
    assert log_line(guarded, method="WEBSOCKET", key="bob" if key else None)["complete"] is False


async def test_a_long_body_is_refused(http: httpx.AsyncClient) -> None:
    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 1000

    before = await metrics(http)
    for content in (b"x" * (MAX_BYTES + 1), b"x" * 50 * MAX_BYTES, chunks(21), chunks(5000)):
        refused = await http.post(CHAT, content=content, headers=auth(ALICE))
        assert refused.status_code == 413
        assert str(MAX_BYTES) in refused.json()["error"]["message"]
    assert (await http.post(CHAT, content=chunks(20), headers=auth(ALICE))).status_code == 400
    padded = json.dumps(chat(max_tokens=1)).ljust(MAX_BYTES)
    headers = {**auth(ALICE), "content-type": "application/json"}
    assert (await http.post(CHAT, content=padded, headers=headers)).status_code == 200
    after = await metrics(http)
    name = "thinkdial_rejected_requests_total"
    assert after[name, "too_large"] == before[name, "too_large"] + 4
    assert after[name, "invalid"] == before[name, "invalid"] + 1


async def test_a_key_has_so_many_requests_at_once(http: httpx.AsyncClient) -> None:
    """The place is free again when the response ends, is refused, or its client goes."""

    async def tries(headers: dict[str, str]) -> httpx.Response:
        return await http.post(CHAT, json=chat(max_tokens=1), headers=headers)

    async def until_free() -> None:
        deadline = time.monotonic() + 5
        while (reply := await tries(auth(BOB))).status_code != 200:
            assert reply.status_code == 429
            assert time.monotonic() < deadline

    for _ in range(2):
        async with http.stream("POST", CHAT, json=ENDLESS, headers=auth(BOB)) as reply:
            async for _ in reply.aiter_bytes():
                break
            refused = await tries(auth(BOB))
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert "'bob'" in refused.json()["error"]["message"]
            assert (await tries(auth(ALICE))).status_code == 200
            assert (await http.get("/v1/models", headers=auth(BOB))).status_code == 200
        await until_free()
    waiting = asyncio.create_task(http.post(CHAT, json={**ENDLESS, "stream": False}, headers=auth(BOB)))
    await asyncio.sleep(0.3)
    assert (await tries(auth(BOB))).status_code == 429
    waiting.cancel()
    await until_free()
    assert (await http.post(CHAT, json=chat(thinking_budget=-7), headers=auth(BOB))).status_code == 400
    assert (await tries(auth(BOB))).status_code == 200


async def test_a_key_has_a_ceiling_and_its_own_requests(http: httpx.AsyncClient) -> None:
    """What a request may ask is lowered to it; only the key that made a request may stop its thinking."""
    reply = await http.post(CHAT, json=chat(thinking_budget=1000, stream=False), headers=auth(ALICE))
    (choice,) = reply.json()["choices"]
    report = choice["thinking"]
    assert (report["budget"], report["requested_budget"], report["lowered_by"]) == (8, 1000, "ceiling")
    async with http.stream("POST", CHAT, json=ENDLESS, headers=auth(BOB)) as reply:
        stop = f"/v1/thinking/{reply.headers['x-thinking-id']}/stop"
        assert (await http.post(stop)).status_code == 401
        assert (await http.post(stop, headers=auth(CAROL))).status_code == 404
        # Its one place is taken, and that must not keep it from being freed.
        assert (await http.post(stop, headers=auth(BOB))).status_code == 200


async def test_metrics_of_thinking(http: httpx.AsyncClient) -> None:
    before = await metrics(http)
    question = {
        "messages": [{"role": "user", "content": "Modulo 10, compute ((3*7)+5)-9."}],
        "seed": 1,
    }
    replies = [
        await http.post(CHAT, json={**question, **body}, headers=auth(CAROL))
        for body in ({"thinking_budget": 4}, {"thinking_budget": 0}, {"thinking_budget": 1000, "n": 2})
    ]
    choices = [choice["thinking"] for reply in replies for choice in reply.json()["choices"]]
    assert [choice["stop_cause"] for choice in choices] == ["budget", "disabled", "natural", "natural"]
    late = await http.post(CHAT, json={**question, "thinking": {"deadline": 0.001}}, headers=auth(CAROL))
    choices += [choice["thinking"] for choice in late.json()["choices"]]
    assert choices[-1]["deadline_missed"]
    after = await metrics(http)

    def grown(name: str, label: str = "") -> float:
        return after["thinkdial_" + name, label] - before["thinkdial_" + name, label]

    assert grown("choices_total", "natural") == 2
    assert grown("choices_total", "budget") == grown("choices_total", "disabled") == 1
    for cause in ("natural", "budget", "disabled", "deadline"):
        spent = sum(choice["tokens"] for choice in choices if choice["stop_cause"] == cause)
        assert grown("thinking_tokens_total", cause) == spent
    assert grown("budget_utilisation_count") == 3
    shares = [choice["tokens"] / choice["budget"] for choice in choices if choice["budget"]]
    assert grown("budget_utilisation_sum") == pytest.approx(sum(shares))
    assert grown("answer_wait_seconds_count") == sum(choice["inserted_tokens"] > 0 for choice in choices)
    assert 0 < grown("answer_wait_seconds_sum") < 5
    assert grown("deadline_misses_total") == 1


def log_line(server: RunningServer, **members: Any) -> dict[str, Any]:
    """The request line of its log with these members. It may come a moment after the response."""
    deadline = time.monotonic() + 10
    while True:
        text = server.log_path.read_text()
        lines = [
            json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")
        ]
        found = [line for line in lines if members.items() <= line.items() and line.get("event") == "request"]
        if found or time.monotonic() > deadline:
            (line,) = found
            return line
        time.sleep(0.05)


async def test_one_line_for_each_request(http: httpx.AsyncClient, guarded: RunningServer) -> None:
    reply = await http.post(CHAT, json=chat(thinking_budget=3, n=2), headers=auth(ALICE))
    streamed = await http.post(CHAT, json=chat(thinking_budget=3, stream=True), headers=auth(CAROL))
    await http.get("/nowhere?secret=1", headers={"x-api-key": "sk-unknown"})
    whole = log_line(guarded, thinking_id=reply.headers["x-thinking-id"])
    stream = log_line(guarded, thinking_id=streamed.headers["x-thinking-id"])
    refused = log_line(guarded, route="/nowhere")
    usage, choices = reply.json()["usage"], reply.json()["choices"]
    assert whole["key"] == "alice"
    assert (whole["method"], whole["route"], whole["status"], whole["complete"]) == ("POST", CHAT, 200, True)
    assert (whole["prompt_tokens"], whole["completion_tokens"]) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    assert whole["thinking_tokens"] == sum(choice["thinking"]["tokens"] for choice in choices)
    assert sorted(whole["stop_causes"]) == sorted(choice["thinking"]["stop_cause"] for choice in choices)
    assert 0 < whole["seconds"] < 60
    assert (stream["key"], stream["status"], stream["complete"]) == ("key-1", 200, True)
    assert stream["completion_tokens"] > 0
    assert (refused["key"], refused["status"]) == (None, 401)


def test_nothing_secret_is_written(guarded: RunningServer) -> None:
    """Neither keys nor what users wrote, also where a request failed."""
    headers = auth(ALICE)
    bodies = [chat(n="x"), chat(thinking={"budget": SECRET_TEXT}), {"messages": SECRET_TEXT}, chat()]
    for body in bodies:
        httpx.post(guarded.base_url + CHAT, json=body, headers=headers, timeout=60)
    httpx.post(guarded.base_url + CHAT, content=SECRET_TEXT, headers=headers)
    log = guarded.log_path.read_text()
    for secret in (ALICE, BOB, CAROL, SECRET_TEXT, "crown", "secret=1", "sk-unknown"):
        assert secret not in log


def test_no_telemetry() -> None:
    """In a clean environment, as vLLM and the hub's library read it."""
    code = (
        "from serve.cli import prepare_environment; prepare_environment('m', False);"
        "from vllm.usage.usage_lib import is_usage_stats_enabled as on;"
        "from huggingface_hub.constants import HF_HUB_DISABLE_TELEMETRY as off;"
        "print('state', on(), off)"
    )
    names = ("VLLM_NO_USAGE_STATS", "VLLM_DO_NOT_TRACK", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean, check=True)
    assert run.stdout.splitlines()[-1] == "state False True"


def test_a_second_signal_ends_at_once(guarded: RunningServer) -> None:
    """The last test here: its server ends. Clients get an error rather than a broken stream."""
    url = guarded.base_url + CHAT
    with httpx.stream("POST", url, json=ENDLESS, headers=auth(CAROL), timeout=60) as reply:
        lines = reply.iter_lines()
        next(lines)
        guarded.process.send_signal(signal.SIGTERM)
        while httpx.get(guarded.base_url + "/health").status_code != 503:
            pass
        begun = time.monotonic()
        guarded.process.send_signal(signal.SIGTERM)
        events = [line[6:] for line in lines if line.startswith("data: ")]
        assert guarded.process.wait(10) == 0
        assert time.monotonic() - begun < 5
    error = json.loads(events[-2])["error"]
    assert (error["code"], events[-1]) == (503, "[DONE]")
