"""One of two engines is killed (kill -9) while replies run: none of them looks complete, on any route."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from serve.launch import start_server
from tests.faults.processes import children_of, endless, engines_of, is_alive, wait_until
from tests.serve.routes import EVERY_WAY

COMPLETE = ("response.completed", "message_stop")
LONG_THOUGHT = {"type": "enabled", "budget_tokens": 1500, "min_tokens": 1400}
"""Anthropic's API has no other way to ask for a reply that goes on."""


def check_stream(text: str) -> int:
    """It ends in an error, behind which at most stands OpenAI's mark of the end.

    Returns how many events came before it.
    """
    events = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    payloads = [json.loads(event) for event in events if event != "[DONE]"]
    assert "error" in payloads[-1] or payloads[-1]["type"] == "error", payloads[-1]
    assert "pydantic" not in events[-1]
    assert "[DONE]" not in events[:-1]
    assert not any(payload.get("type") in COMPLETE for payload in payloads)
    ends = [choice["finish_reason"] for payload in payloads for choice in payload.get("choices", ())]
    assert set(ends) <= {None}, "a reply that its engine dropped was told as one that had ended"
    return len(payloads) - 1


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_every_reply_ends_in_an_error(tmp_path: Path) -> None:
    """On the killed engine and on the other, which vLLM ends too; then the server and all it started end."""
    ways = EVERY_WAY * 2
    sent = threading.Barrier(len(ways) + 1)

    def client(number: int) -> int:
        """How many events came before the error."""
        api, stream = ways[number]
        # Half of them are limited, and so several requests of vLLM's one after the other.
        limit = {"thinking": LONG_THOUGHT} if api == "messages" else {"thinking_budget": 1500}
        path, body = endless(api, **(limit if number % 2 or api == "messages" else {}))
        body["stream"] = stream
        if not stream:
            body.pop("stream_options", None)
        with httpx.Client(base_url=server.base_url, timeout=300) as http:
            sent.wait(300)
            with http.stream("POST", path, json=body) as reply:
                text = reply.read().decode()
                if stream and reply.status_code == 200:
                    return check_stream(text)
                assert reply.status_code in (500, 503), text
                assert reply.json()["error"]["message"]
                return 0

    with (
        start_server(args=["--data-parallel-size", "2"], log_path=tmp_path / "log") as server,
        ThreadPoolExecutor(len(ways)) as pool,
    ):
        everyone = children_of(server.process.pid)
        first, second = engines_of(server.process.pid)
        clients = [pool.submit(client, number) for number in range(len(ways))]
        sent.wait(300)
        # No reply of 1,900 tokens has ended by then. How many run is not asked of the server: beside two busy
        # engines on two cores it answers late.
        time.sleep(2)
        os.kill(second, signal.SIGKILL)
        assert sum(one.result(120) for one in clients) > 0, "no stream had begun"
        assert server.process.wait(60) == 1
        wait_until(lambda: not any(map(is_alive, [first, *everyone])), "no process of the server is left")
