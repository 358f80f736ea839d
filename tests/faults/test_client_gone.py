"""Clients that leave, a wall clock that jumps, and at last the server killed: on one server of its own."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.launch import HOST, RunningServer, free_port, start_process
from tests.faults.processes import (
    ENDLESS,
    PATIENCE,
    QUESTION,
    children_of,
    engines_of,
    is_alive,
    metric,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

AT_ONCE = 2
"""Requests that the server runs at any time; more wait."""
BUDGET = 10
"""Less than the model thinks on the question of its own accord."""
IDLE = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    """The server, and the file in which it tells what it keeps."""
    folder, port = tmp_path_factory.mktemp("watched"), free_port()
    flags = ["--host", HOST, "--port", str(port), "--max-num-seqs", str(AT_ONCE)]
    command = [sys.executable, "-m", "tests.faults.watched_server", *flags]
    environment = {"WATCHED": str(folder / "kept.json")}
    with start_process(command, port, environment=environment, log_path=folder / "log") as server:
        yield server, folder / "kept.json"


def left_over(watched: tuple[RunningServer, Path]) -> dict[str, float]:
    """What the server still keeps of requests, and what its engine still does."""
    server, path = watched
    path.unlink(missing_ok=True)
    server.process.send_signal(signal.SIGUSR1)
    wait_until(path.exists, "the server tells what it keeps")
    counts: dict[str, float] = json.loads(path.read_text("utf-8"))
    counts |= {name: metric(server.base_url, name) for name in IDLE}
    return {name: count for name, count in counts.items() if count}


def body(stream: bool, **more: Any) -> dict[str, Any]:
    """A chat whose thinking and answer go on as long as they may."""
    return {"messages": [{"role": "user", "content": QUESTION}], "stream": stream, **ENDLESS, **more}


@asynccontextmanager
async def busy(http: httpx.AsyncClient, url: str) -> AsyncIterator[None]:
    """As many requests as the server runs at once."""
    tasks = [asyncio.create_task(http.post("/v1/chat/completions", json=body(False))) for _ in range(AT_ONCE)]
    await until(url, "vllm:num_requests_running", AT_ONCE)
    yield
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def until(url: str, name: str, value: float) -> None:
    async with asyncio.timeout(PATIENCE):
        while await asyncio.to_thread(metric, url, name) < value:
            await asyncio.sleep(0.02)


async def read_until(http: httpx.AsyncClient, phase: str, n: int) -> None:
    """Read a stream as far as its first choice has come into a phase, and leave."""
    thoughts, answers = 0, 0
    request = body(True, thinking_budget=BUDGET, n=n)
    async with http.stream("POST", "/v1/chat/completions", json=request) as response:
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            for choice in json.loads(line[6:])["choices"]:
                assert choice["finish_reason"] is None, "the reply ended before the client left"
                if choice["index"] == 0:
                    thoughts += bool(choice["delta"].get("reasoning"))
                    answers += bool(choice["delta"].get("content"))
            # The request that answers is started with the last token of the budget.
            reached = {
                "thinking": thoughts >= 2,
                "cut": thoughts >= BUDGET - 1 or answers,
                "answering": answers >= 3,
            }
            if reached[phase]:
                return


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("phase", ["thinking", "cut", "answering"])
async def test_a_reader_leaves(watched: tuple[RunningServer, Path], phase: str, n: int) -> None:
    async with httpx.AsyncClient(base_url=watched[0].base_url, timeout=PATIENCE) as http:
        await read_until(http, phase, n)
    wait_until(lambda: not left_over(watched), f"the server forgets a client that left while {phase}")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_leaves_the_queue(watched: tuple[RunningServer, Path], stream: bool) -> None:
    url = watched[0].base_url
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http, busy(http, url):
        waiting = [
            asyncio.create_task(http.post("/v1/chat/completions", json=body(stream, thinking=thinking)))
            for thinking in ({}, {"budget": BUDGET}, {"deadline": 1000})
        ]
        await until(url, "vllm:num_requests_waiting", len(waiting))
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        wait_until(lambda: not metric(url, "vllm:num_requests_waiting"), "the queue is empty")
    wait_until(lambda: not left_over(watched), "the server forgets clients that left its queue")


async def test_a_client_that_waits_for_the_whole_leaves(watched: tuple[RunningServer, Path]) -> None:
    url = watched[0].base_url
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
        for tokens in (5, 3 * BUDGET):  # thinking, and answering
            before = metric(url, "vllm:generation_tokens_total")
            request = body(False, thinking={"budget": BUDGET, "deadline": 1000})
            task = asyncio.create_task(http.post("/v1/chat/completions", json=request))
            await until(url, "vllm:generation_tokens_total", before + tokens)
            assert not task.done()
            task.cancel()
            await asyncio.wait([task])
            wait_until(lambda: not left_over(watched), "the server forgets a client that left")


def test_deadlines_do_not_follow_the_wall_clock(watched: tuple[RunningServer, Path]) -> None:
    """It jumps by two hours ten times a second. A near deadline cuts when it is due, a far one does not."""
    url = f"{watched[0].base_url}/v1/chat/completions"
    form = httpx.get(f"{watched[0].base_url}/v1/thinking/format").json()
    never_closes = {"logit_bias": {str(form["close_id"]): -100}}

    def report(deadline: float, max_tokens: int) -> dict[str, Any]:
        request = body(False, max_tokens=max_tokens, thinking={"deadline": deadline}, **never_closes)
        (choice,) = httpx.post(url, json=request, timeout=3 * PATIENCE).json()["choices"]
        return choice["thinking"]

    near, far = report(1.5, 1900), report(3000, 600)
    assert (near["stop_cause"], far["stop_cause"]) == ("deadline", "length")
    # A clock that is an hour fast would have cut at once, and the far one too.
    assert near["tokens"] > 0
    assert 0 < near["seconds"] < PATIENCE


def test_a_killed_server_takes_its_engine_along(watched: tuple[RunningServer, Path]) -> None:
    """kill -9: no engine is left that keeps memory, and no client takes what it has for the whole."""
    server, _ = watched
    everyone = children_of(server.process.pid)
    assert engines_of(server.process.pid)
    with (
        httpx.Client(timeout=PATIENCE) as http,
        http.stream("POST", f"{server.base_url}/v1/chat/completions", json=body(True)) as reply,
    ):
        lines = reply.iter_lines()
        got = [next(lines) for _ in range(8)]
        os.kill(server.process.pid, signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            got += lines
    assert "data: [DONE]" not in got
    server.process.wait()
    wait_until(lambda: not any(map(is_alive, everyone)), "no process of the server is left")
