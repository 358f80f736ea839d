"""Two replicas behind one server: budgets stay exact, vLLM balances the load, and what follows a cut runs on
the replica that has its prefix in the cache."""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from serve.launch import RunningServer, start_server
from tests.serve.conftest import Server
from tests.serve.test_exactness import check

pytestmark = pytest.mark.slow

RANKS = 2
BLOCK = 32
"""Tokens of a block of the KV cache; only whole blocks are found again."""


@pytest.fixture(scope="module")
def replicas() -> Iterator[RunningServer]:
    with start_server(args=["--data-parallel-size", str(RANKS)]) as running:
        yield running


@pytest.fixture(scope="module")
async def pair(replicas: RunningServer) -> AsyncIterator[Server]:
    async with httpx.AsyncClient(base_url=replicas.base_url, timeout=300) as http:
        form = (await http.get("/v1/thinking/format")).raise_for_status().json()
        yield Server(replicas, http, form)


async def per_rank(pair: Server, name: str) -> list[float]:
    """A metric's value for each rank, summed over its other labels."""
    values = [0.0] * RANKS
    for line in (await pair.http.get("/metrics")).text.splitlines():
        if found := re.match(rf'{name}{{.*?engine="(\d+)".*}} (\S+)', line):
            values[int(found[1])] += float(found[2])
    return values


async def growth(pair: Server, name: str, before: list[float]) -> list[float]:
    return [now - then for now, then in zip(await per_rank(pair, name), before, strict=True)]


def unseen(count: int, seed: int) -> list[str]:
    """Prompts that differ before the first whole block, so that none finds another's prefix."""
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefgh+-*=0123456789", k=60)) + ". What is a?" for _ in range(count)]


async def test_budgets_are_exact_on_every_rank(pair: Server, questions: list[str]) -> None:
    before = await per_rank(pair, "vllm:request_success_total")
    natural = await pair.chats(questions, temperature=0)
    for budget in (0, 7, 16):
        cut = await pair.chats(questions, temperature=0, thinking_token_budget=budget)
        for got, whole in zip(cut, natural, strict=True):
            check(got.choices[0], whole.choices[0], budget, pair)
    done = await growth(pair, "vllm:request_success_total", before)
    assert min(done) > sum(done) / 4, "both ranks have their share"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_answer_after_a_cut_finds_its_prefix(pair: Server, stream: bool) -> None:
    before = await per_rank(pair, "vllm:prefix_cache_hits_total")
    answers = await pair.chats(
        unseen(16, seed=int(stream)),
        stream=stream,
        temperature=0,
        thinking_token_budget=64,
        logit_bias={pair.close_id: -100},
        max_tokens=150,
    )
    reports = [answer.choices[0].thinking for answer in answers]
    assert [(report["stop_cause"], report["tokens"]) for report in reports] == [("budget", 64)] * 16
    known = [len(answer.prompt_token_ids) + 1 + 64 for answer in answers]
    hits = await growth(pair, "vllm:prefix_cache_hits_total", before)
    assert sum(hits) == sum(tokens // BLOCK * BLOCK for tokens in known)
    assert min(hits) > 0


async def test_the_answer_after_a_stop_finds_its_prefix(pair: Server) -> None:
    """The client ends the thinking of a request without any limit."""

    async def stopped(prompt: str) -> int:
        """How many tokens of a reply, its prompt included, came before the early-stop text."""
        body = {
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "logit_bias": {pair.close_id: -100},
            "min_tokens": 1800,
            "max_tokens": 1800,
            "stream": True,
            "return_token_ids": True,
        }
        received, stopping = b"", None
        async with pair.http.stream("POST", "/v1/chat/completions", json=body) as response:
            # Until all are here events are only counted: a reader slower than the model would stop too late.
            async for piece in response.aiter_bytes():
                received += piece
                if stopping is None and received.count(b"data: {") > 3 * BLOCK:
                    thinking_id = response.headers["x-thinking-id"]
                    stopping = (await pair.http.post(f"/v1/thinking/{thinking_id}/stop")).json()
                    assert stopping == {"id": thinking_id, "stopping": 1}
        ids: list[int] = []
        for line in received.decode().splitlines():
            if line.startswith("data: {"):
                (choice,) = (payload := json.loads(line.removeprefix("data: ")))["choices"]
                ids += payload.get("prompt_token_ids") or []
                ids += choice.get("token_ids") or []
        return ids.index(pair.close_id) - pair.stop_ids.index(pair.close_id)

    before = await per_rank(pair, "vllm:prefix_cache_hits_total")
    known = await asyncio.gather(*map(stopped, unseen(4, seed=2)))
    hits = await growth(pair, "vllm:prefix_cache_hits_total", before)
    # The newest token may not be in the cache yet.
    assert sum(hits) >= sum((tokens - 1) // BLOCK * BLOCK for tokens in known)


async def test_limited_requests_go_to_the_rank_with_less_to_do(pair: Server) -> None:
    """vLLM chooses the rank of a first segment, by load; it is not dealt out in turn."""
    loaded, free = 0, 1
    body = {
        "messages": [{"role": "user", "content": unseen(1, seed=3)[0]}],
        "min_tokens": 1800,
        "max_tokens": 1800,
        "temperature": 0,
    }
    busy = [
        asyncio.create_task(
            pair.http.post("/v1/chat/completions", json=body, headers={"X-data-parallel-rank": str(loaded)})
        )
        for _ in range(8)
    ]
    while (await per_rank(pair, "vllm:num_requests_running"))[loaded] < len(busy):
        await asyncio.sleep(0.05)
    before = await per_rank(pair, "vllm:prompt_tokens_total")
    await pair.chats(unseen(6, seed=4), thinking_token_budget=4, max_tokens=60)
    prompts = await growth(pair, "vllm:prompt_tokens_total", before)
    assert not any(task.done() for task in busy)
    for task in busy:
        task.cancel()
    await asyncio.wait(busy)
    assert prompts[loaded] == 0
    assert prompts[free] > 0
