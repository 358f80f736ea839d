"""Requests that start, are cut, stopped and given up in any order: each reply is the reference's, exactly.

The real server with the shipped model, and hypothesis, which decides what happens next. When all have ended
the engine holds nothing.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    multiple,
    rule,
    run_state_machine_as_test,
)

from evals.problems import load
from serve.launch import RunningServer
from tests.hostile.reference_model import GREEDY, Reference
from tests.serve.conftest import events

QUESTIONS = [problem.problem for problem in load("thinkmath", limit=6)]
PATIENCE = 120
SHORT_STOP = "Enough.</think>\n\n"

budgets = st.sampled_from([None, 0, 1, 2, 3, 7, 12, 20, 33, 50, 10**9])
lengths = st.sampled_from([1, 2, 5, 30, 37, 60, 200])


@dataclass
class Asked:
    """A request that runs. arrived: how many of its stream's pieces have come."""

    question: str
    budget: int | None
    most: int
    n: int
    stream: bool
    stop_text: str | None
    name: str
    task: "Future[list[dict[str, Any]]]"
    stopped: bool = False
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


class Loop:
    """An event loop in a thread, and a client in it."""

    def __init__(self, base_url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.http = httpx.AsyncClient(base_url=base_url, timeout=PATIENCE)

    def start(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def end(self) -> None:
        self.start(self.http.aclose()).result(PATIENCE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Machine(RuleBasedStateMachine):
    """Rules are what clients do; every finished reply is compared."""

    running = Bundle("running")
    reference: Reference
    loop: Loop
    count = 0

    def __init__(self) -> None:
        super().__init__()
        self.left: list[Asked] = []

    @rule(
        target=running,
        question=st.sampled_from(QUESTIONS),
        budget=budgets,
        most=lengths,
        n=st.sampled_from([1, 1, 3]),
        stream=st.booleans(),
        stop_text=st.sampled_from([None, None, SHORT_STOP]),
    )
    def ask(
        self, question: str, budget: int | None, most: int, n: int, stream: bool, stop_text: str | None
    ) -> Asked:
        Machine.count += 1
        thinking = {"budget": -1 if budget is None else budget}
        if stop_text is not None:
            thinking["stop_text"] = stop_text
        body = {
            "messages": [{"role": "user", "content": question}],
            "max_tokens": most,
            "n": n,
            "stream": stream,
            "thinking": thinking,
            "return_token_ids": True,
            **GREEDY,
        }
        name = f"machine-{Machine.count}"
        asked = Asked(question, budget, most, n, stream, stop_text, name, Future())
        asked.task = self.loop.start(self._request(body, asked))
        self.left.append(asked)
        return asked

    async def _request(self, body: dict[str, Any], asked: Asked) -> list[dict[str, Any]]:
        """The choices, put together: token ids and report."""
        headers = {"x-thinking-id": asked.name}
        choices: list[dict[str, Any]] = [{"token_ids": [], "thinking": {}} for _ in range(asked.n)]
        async with self.loop.http.stream(
            "POST", "/v1/chat/completions", json=body, headers=headers
        ) as response:
            text = ""
            async for piece in response.aiter_text():
                text += piece
                asked.arrived.release()
        assert response.status_code == 200, text
        if not asked.stream:
            return response_choices(text)
        for event in events(text):
            assert "error" not in event, event
            for part in event["choices"]:
                choices[part["index"]]["token_ids"] += part.get("token_ids") or []
                if part["finish_reason"] is not None:
                    choices[part["index"]]["thinking"] = part["thinking"]
        return choices

    @rule(asked=running, pieces=st.integers(1, 6))
    def wait_for_pieces(self, asked: Asked, pieces: int) -> None:
        """Read on, so that what comes next meets the request further along."""
        for _ in range(pieces):
            if asked.task.done():
                return
            asked.arrived.acquire(timeout=0.05)

    @rule(asked=running)
    def answer_now(self, asked: Asked) -> None:
        stop = self.loop.http.post(f"/v1/thinking/{asked.name}/stop")
        reply = self.loop.start(stop).result(PATIENCE)
        assert reply.status_code in (200, 404)
        if reply.status_code == 200:
            asked.stopped = True
            assert 0 <= reply.json()["stopping"] <= asked.n

    @rule(asked=consumes(running))
    def give_up(self, asked: Asked) -> None:
        asked.task.cancel()
        self.left.remove(asked)

    @rule(target=running, asked=consumes(running))
    def finish(self, asked: Asked) -> Any:
        self._check(asked)
        self.left.remove(asked)
        return multiple()

    def _check(self, asked: Asked) -> None:
        choices = asked.task.result(PATIENCE)
        assert len(choices) == asked.n
        for choice in choices:
            report = choice["thinking"]
            got = (choice["token_ids"], *(report[it] for it in ("stop_cause", "tokens", "inserted_tokens")))
            wanted = [self.reference.expected(asked.question, asked.budget, asked.most, asked.stop_text)]
            if asked.stopped and report["tokens"] <= wanted[0].tokens:
                at = (report["tokens"], asked.most, asked.stop_text)
                wanted += self.reference.stopped(asked.question, *at)
            assert got in [(it.ids, it.cause, it.tokens, it.inserted) for it in wanted], (asked, wanted)

    def teardown(self) -> None:
        for asked in self.left:
            self._check(asked)
        self.loop.start(self._idle()).result(PATIENCE)

    async def _idle(self) -> None:
        """Wait until nothing runs; then no cache block is held."""
        names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
        while any([await self._metric(name) for name in names]):
            await asyncio.sleep(0.02)
        assert await self._metric("vllm:kv_cache_usage_perc") == 0

    async def _metric(self, name: str) -> float:
        text = (await self.loop.http.get("/metrics")).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + "{"))


def response_choices(text: str) -> list[dict[str, Any]]:
    return httpx.Response(200, text=text).json()["choices"]


@pytest.fixture
def machine(server: RunningServer) -> Iterator[type[Machine]]:
    with httpx.Client(base_url=server.base_url, timeout=PATIENCE) as http:
        Machine.loop, Machine.reference = Loop(server.base_url), Reference(http)
        yield Machine
        Machine.loop.end()


@pytest.mark.slow
def test_every_reply_is_the_references(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=14,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
