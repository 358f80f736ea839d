"""Asking the shared server, and reading its replies the way the tests need them."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from evals.problems import load
from serve.launch import RunningServer

CONCURRENCY = 32


@dataclass
class Choice:
    token_ids: list[int] = field(default_factory=list)
    reasoning: str = ""
    content: str = ""
    thinking: dict[str, Any] = field(default_factory=dict)
    finish_reason: str | None = None


@dataclass
class Answer:
    choices: list[Choice]
    usage: dict[str, Any]
    prompt_token_ids: list[int]


class Server:
    """The server under test, its thinking format, and a client with enough connections."""

    def __init__(self, running: RunningServer, http: httpx.AsyncClient, form: dict[str, Any]) -> None:
        self.base_url = running.base_url
        self.model = running.model
        self.http = http
        self.form = form
        self.open_id: int = form["open_id"]
        self.close_id: int = form["close_id"]
        self.stop_ids: list[int] = form["stop_ids"]

    async def post(self, route: str, body: dict[str, Any]) -> httpx.Response:
        return await self.http.post(route, json=body)

    async def chat(self, text: str | list[dict[str, Any]], *, stream: bool = False, **body: Any) -> Answer:
        """One chat completion; a streamed one is put together again."""
        messages = [{"role": "user", "content": text}] if isinstance(text, str) else text
        body = {"messages": messages, "max_tokens": 256, "return_token_ids": True, "stream": stream, **body}
        if stream:
            body["stream_options"] = {"include_usage": True}
        response = await self.post("/v1/chat/completions", body)
        assert response.status_code == 200, response.text
        if not stream:
            return _whole(response.json())
        return _streamed(response.text, body.get("n", 1))

    async def chats(self, texts: list[str], **body: Any) -> list[Answer]:
        """All texts at once; `seed` is spread so that each has its own."""
        seed = body.pop("seed", None)
        seeds = [{} if seed is None else {"seed": seed + 100 * i} for i in range(len(texts))]
        return await asyncio.gather(*(self.chat(t, **body, **s) for t, s in zip(texts, seeds, strict=True)))

    async def metric(self, name: str) -> float:
        text = (await self.http.get("/metrics")).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + "{"))


def facts(report: dict[str, Any]) -> dict[str, Any]:
    """A report without its time, its blocks, which follow from the reply's tokens, and what was expected."""
    assert report["seconds"] > 0
    left_out = ("seconds", "blocks", "expected_accuracy")
    return {name: value for name, value in report.items() if name not in left_out}


def events(text: str) -> list[dict[str, Any]]:
    """The JSON payloads of a server-sent-event body."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def _whole(payload: dict[str, Any]) -> Answer:
    choices = [
        Choice(
            token_ids=choice["token_ids"],
            reasoning=choice["message"]["reasoning_content"] or "",
            content=choice["message"]["content"] or "",
            thinking=choice["thinking"],
            finish_reason=choice["finish_reason"],
        )
        for choice in payload["choices"]
    ]
    return Answer(choices, payload["usage"], payload["prompt_token_ids"])


def _streamed(text: str, n: int) -> Answer:
    answer = Answer([Choice() for _ in range(n)], {}, [])
    for payload in events(text):
        assert "error" not in payload, payload
        answer.usage = payload.get("usage") or answer.usage
        answer.prompt_token_ids = payload.get("prompt_token_ids") or answer.prompt_token_ids
        for part in payload["choices"]:
            choice = answer.choices[part["index"]]
            delta = part["delta"]
            choice.token_ids += part.get("token_ids") or []
            choice.reasoning += delta.get("reasoning_content") or ""
            choice.content += delta.get("content") or ""
            assert ("stop_cause" in part.get("thinking", {})) == (part["finish_reason"] is not None)
            if part["finish_reason"] is not None:
                choice.thinking = part["thinking"]
                choice.finish_reason = part["finish_reason"]
    return answer


@pytest.fixture(scope="session")
async def ask(server: RunningServer) -> AsyncIterator[Server]:
    limits = httpx.Limits(max_connections=2 * CONCURRENCY)
    async with httpx.AsyncClient(base_url=server.base_url, timeout=300, limits=limits) as http:
        form = (await http.get("/v1/thinking/format")).raise_for_status().json()
        yield Server(server, http, form)


@pytest.fixture(scope="session")
def questions() -> list[str]:
    """Held-out problems, as many as are asked at once."""
    return [problem.problem for problem in load("thinkmath", limit=CONCURRENCY)]
