"""One of two engines is killed (kill -9) while replies run: none of them looks complete, on any route."""

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from serve.launch import start_server
from tests.faults.processes import children_of, endless, engines_of, is_alive, metric, wait_until
from tests.serve.routes import EVERY_WAY

COMPLETE = ("response.completed", "message_stop")
LONG_THOUGHT = {"type": "enabled", "budget_tokens": 1500, "min_tokens": 1400}
"""Anthropic's API has no other way to ask for a reply that goes on."""


def check_stream(text: str) -> None:
    """It ends in an error, behind which at most stands OpenAI's mark of the end."""
    events = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    payloads = [json.loads(event) for event in events if event != "[DONE]"]
    assert "error" in payloads[-1] or payloads[-1]["type"] == "error", payloads[-1]
    assert "pydantic" not in events[-1]
    assert "[DONE]" not in events[:-1]
    assert not any(payload.get("type") in COMPLETE for payload in payloads)
    ends = [choice["finish_reason"] for payload in payloads for choice in payload.get("choices", ())]
    assert set(ends) <= {None}, "a reply that its engine dropped was told as one that had ended"


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_every_reply_ends_in_an_error(tmp_path: Path) -> None:
    """On the killed engine and on the other, which vLLM ends too; then the server and all it started end."""
    ways = EVERY_WAY * 2
    streams = sum(stream for _, stream in ways)
    started = threading.Barrier(streams + 1)

    def client(number: int) -> None:
        api, stream = ways[number]
        # Half of them are limited, and so several requests of vLLM's one after the other.
        limit = {"thinking": LONG_THOUGHT} if api == "messages" else {"thinking_budget": 1500}
        path, body = endless(api, **(limit if number % 2 or api == "messages" else {}))
        body["stream"] = stream
        with httpx.Client(base_url=server.base_url, timeout=300) as http:
            if not stream:
                body.pop("stream_options", None)
                reply = http.post(path, json=body)
                assert reply.status_code in (500, 503), reply.text
                assert reply.json()["error"]["message"]
                return
            with http.stream("POST", path, json=body) as reply:
                lines = reply.iter_lines()
                head = [next(lines) for _ in range(8)]
                started.wait(300)
                check_stream("\n".join([*head, *lines]))

    with (
        start_server(args=["--data-parallel-size", "2"], log_path=tmp_path / "log") as server,
        ThreadPoolExecutor(len(ways)) as pool,
    ):
        everyone = children_of(server.process.pid)
        first, second = engines_of(server.process.pid)
        clients = [pool.submit(client, number) for number in range(len(ways))]
        started.wait(300)
        wait_until(
            lambda: metric(server.base_url, "vllm:num_requests_running") >= len(ways), "all requests run"
        )
        os.kill(second, signal.SIGKILL)
        for one in clients:
            one.result(120)
        assert server.process.wait(60) == 1
        wait_until(lambda: not any(map(is_alive, [first, *everyone])), "no process of the server is left")
