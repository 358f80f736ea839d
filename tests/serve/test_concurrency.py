"""A crowd of clients on the shared server, and that the benchmark sees what would be wrong with a stream."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from serve.bench.concurrency import Stream, ask, fault, measure, read_stream
from serve.bench.load import Exchange
from serve.launch import RunningServer
from tests.serve.conftest import Server

FORM: dict[str, Any] = {"opened_by": "model", "stop_ids": [7, 8, 9]}
CUT = Stream(
    token_ids=(1, 5, 5, 7, 8, 9, 3, 2),
    reasoning="",
    content="",
    finish_reason="stop",
    thinking={"stop_cause": "budget", "tokens": 2},
    completion_tokens=8,
)


async def test_a_crowd_gets_what_each_gets_alone(server: RunningServer) -> None:
    """More at once than the engine runs (128 on CPU), so that some wait."""
    # In a thread, as it has an event loop of its own.
    summary = await asyncio.to_thread(measure, server, 160, 18, 0, 300.0)
    assert summary["errors"] == {}
    assert summary["complete"] == 160
    peak, before = summary["processes_peak"], summary["processes_before"]
    assert peak["files"] <= before["files"] + 160 + 20
    assert 0 < summary["first_token_seconds"]["p50"] <= summary["last_token_seconds"]["p50"]


async def test_who_gets_no_reply_is_told(ask_free_port: str, server: RunningServer) -> None:
    assert "ConnectionRefusedError" in str((await ask(ask_free_port, b"", 5)).error)
    body = json.dumps({"model": server.model, "messages": [], "stream": True}).encode()
    head = f"POST /v1/nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert "404" in str((await ask(server.base_url, head + body, 30)).error)


@pytest.fixture
def ask_free_port() -> str:
    from serve.launch import free_port

    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    ("stream", "budget", "said"),
    [
        (CUT, 2, None),
        (CUT, 1, "2 thinking tokens under a budget of 1"),
        (CUT, 3, "cut after 2 tokens, budget 3"),
        (replace(CUT, token_ids=(1, 5, 5, 7, 8, 3, 2, 2)), 2, "without the whole early-stop text"),
        (replace(CUT, completion_tokens=9), 2, "usage says 9 tokens, the stream has 8"),
        (replace(CUT, thinking={"stop_cause": "natural", "tokens": 2}), None, None),
    ],
)
def test_what_is_wrong_with_a_stream(stream: Stream, budget: int | None, said: str | None) -> None:
    found = fault(stream, budget, FORM)
    assert found is None if said is None else found is not None and said in found


def test_a_stream_without_its_end_is_no_reply() -> None:
    last = {
        "choices": [
            {"delta": {"content": "4"}, "token_ids": [1], "finish_reason": "stop", "thinking": {"tokens": 0}}
        ],
        "usage": {"completion_tokens": 1, "prompt_tokens": 3},
    }
    error = {"error": {"message": "the engine is dead"}}

    def exchange(*payloads: object) -> Exchange:
        raw = b"HTTP/1.1 200 OK\r\n\r\n"
        for payload in payloads:
            text = payload if isinstance(payload, str) else json.dumps(payload)
            event = f"data: {text}\n\n".encode()
            raw += b"%x\r\n%s\r\n" % (len(event), event)
        return Exchange(0.0, [(1.0, raw + b"0\r\n\r\n")])

    assert read_stream(exchange(last, "[DONE]")).content == "4"
    with pytest.raises(ValueError, match="ended before the reply did"):
        read_stream(exchange(last))
    unfinished = {"choices": [{**last["choices"][0], "finish_reason": None}]}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="ended before the reply did"):
        read_stream(exchange(unfinished, "[DONE]"))
    with pytest.raises(ValueError, match="the engine is dead"):
        read_stream(exchange(error, "[DONE]"))


@pytest.mark.parametrize(("soft", "hard", "then"), [(64, 1000, 1000), (900, 1000, 1000), (1000, 1000, 1000)])
def test_the_limit_of_open_files_is_raised_to_what_may_be(soft: int, hard: int, then: int) -> None:
    """In a process of its own, which has to live with it."""
    code = (
        "import resource; from serve.open_files import allow_open_files\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "print(allow_open_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.split() == [str(then), str(then), str(hard)]


async def test_the_servers_format_is_the_benchmarks(ask: Server) -> None:
    assert {"opened_by", "stop_ids"} <= set(ask.form)
