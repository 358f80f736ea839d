"""The unmodified `openai` and `anthropic` packages: every API, sync and async, streamed and not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import anthropic
import openai
import pytest

from tests.serve.conftest import Choice, Server

BUDGET = 5
MAX_TOKENS = 128
WAYS = ["sync", "sync stream", "async", "async stream"]

Reply = tuple[str, str, dict[str, Any], int]
"""Reasoning, text, report and counted thinking tokens."""


@pytest.fixture
async def expected(ask: Server, questions: list[str]) -> Choice:
    """The reply over plain HTTP."""
    answer = await ask.chat(questions[0], temperature=0, max_tokens=MAX_TOKENS, thinking_budget=BUDGET)
    (choice,) = answer.choices
    assert choice.thinking["stop_cause"] == "budget"
    return choice


def check(reply: Reply, expected: Choice) -> None:
    reasoning, text, report, counted = reply
    assert (reasoning, text) == (expected.reasoning, expected.content)
    assert {**report, "seconds": 0} == {**expected.thinking, "seconds": 0}
    assert counted == report["tokens"]


async def chat(ask: Server, question: str, way: str) -> Reply:
    body: dict[str, Any] = {
        "model": ask.model,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
        "extra_body": {"thinking_budget": BUDGET},
    }
    options = {"base_url": f"{ask.base_url}/v1", "api_key": "none", "max_retries": 0}
    stream = {"stream": True, "stream_options": {"include_usage": True}} if "stream" in way else {}

    def ask_sync() -> list[Any]:
        with openai.OpenAI(**options) as client:
            reply = client.chat.completions.create(**body, **stream)
            return list(reply) if stream else [reply]

    if way.startswith("sync"):
        parts = await asyncio.to_thread(ask_sync)
    else:
        async with openai.AsyncOpenAI(**options) as client:
            reply = await client.chat.completions.create(**body, **stream)
            parts = [part async for part in reply] if stream else [reply]
    reasoning = text = ""
    report: dict[str, Any] = {}
    for choice in (choice for part in parts for choice in part.choices):
        message = choice.delta if stream else choice.message
        reasoning += getattr(message, "reasoning_content", None) or ""
        text += message.content or ""
        report = choice.thinking if choice.finish_reason else report
    return reasoning, text, report, parts[-1].usage.completion_tokens_details.reasoning_tokens


async def responses(ask: Server, question: str, way: str) -> Reply:
    body: dict[str, Any] = {
        "model": ask.model,
        "input": question,
        "temperature": 0,
        "max_output_tokens": MAX_TOKENS,
        "extra_body": {"thinking_budget": BUDGET},
    }
    options = {"base_url": f"{ask.base_url}/v1", "api_key": "none", "max_retries": 0}
    stream = "stream" in way

    def ask_sync() -> list[Any]:
        with openai.OpenAI(**options) as client:
            reply = client.responses.create(**body, stream=stream)
            return list(reply) if stream else [reply]

    if way.startswith("sync"):
        parts = await asyncio.to_thread(ask_sync)
    else:
        async with openai.AsyncOpenAI(**options) as client:
            reply = await client.responses.create(**body, stream=stream)
            parts = [part async for part in reply] if stream else [reply]
    final = parts[-1].response if stream else parts[-1]
    assert final.status == "completed"
    thought, said = final.output
    reasoning, text = thought.content[0].text, said.content[0].text
    if stream:
        assert parts[-1].type == "response.completed"
        assert reasoning == "".join(p.delta for p in parts if p.type == "response.reasoning_text.delta")
        assert text == "".join(p.delta for p in parts if p.type == "response.output_text.delta")
    assert final.output_text == text
    return reasoning, text, final.thinking, final.usage.output_tokens_details.reasoning_tokens


async def messages(ask: Server, question: str, way: str) -> Reply:
    body: dict[str, Any] = {
        "model": ask.model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": MAX_TOKENS,
        "thinking": {"type": "enabled", "budget_tokens": BUDGET},
        "extra_body": {"temperature": 0},
    }
    options = {"base_url": ask.base_url, "api_key": "none", "max_retries": 0}
    stream = "stream" in way
    report: dict[str, Any] = {}

    def ask_sync() -> Any:
        with anthropic.Anthropic(**options) as client:
            if not stream:
                return client.messages.create(**body)
            with client.messages.stream(**body) as events:
                for event in events:
                    note(event)
                return events.get_final_message()

    def note(event: Any) -> None:
        if event.type == "message_delta":
            report.update(event.thinking)

    if way.startswith("sync"):
        message = await asyncio.to_thread(ask_sync)
    else:
        async with anthropic.AsyncAnthropic(**options) as client:
            if stream:
                async with client.messages.stream(**body) as events:
                    async for event in events:
                        note(event)
                    message = await events.get_final_message()
            else:
                message = await client.messages.create(**body)
    assert message.stop_reason == "end_turn"
    thought, said = message.content
    counted = message.usage.output_tokens_details.thinking_tokens
    return thought.thinking, said.text, report if stream else message.thinking, counted


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("api", [chat, responses, messages])
async def test_apis(
    ask: Server,
    questions: list[str],
    expected: Choice,
    api: Callable[[Server, str, str], Coroutine[Any, Any, Reply]],
    way: str,
) -> None:
    check(await api(ask, questions[0], way), expected)


@pytest.fixture
async def claude(ask: Server) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=ask.base_url, api_key="none", max_retries=0) as client:
        yield client


async def test_anthropic_thinking_comes_back(
    ask: Server, claude: anthropic.AsyncAnthropic, questions: list[str]
) -> None:
    """A client that sends the blocks it got, signature and all, is understood."""
    body: dict[str, Any] = {"model": ask.model, "max_tokens": MAX_TOKENS}
    turn = {"role": "user", "content": questions[0]}
    first = await claude.messages.create(**body, messages=[turn], thinking={"type": "disabled"})
    assert [block.type for block in first.content] == ["text"]
    enabled = {"type": "enabled", "budget_tokens": BUDGET}
    thought = await claude.messages.create(**body, messages=[turn], thinking=enabled)
    assert [block.type for block in thought.content] == ["thinking", "text"]
    talk = [
        turn,
        {"role": "assistant", "content": thought.content},
        {"role": "user", "content": questions[1]},
    ]
    again = await claude.messages.create(**body, messages=talk, thinking=enabled)
    assert again.usage.output_tokens_details.thinking_tokens <= BUDGET


async def test_a_wrong_budget_is_anthropic_s_error(
    ask: Server, claude: anthropic.AsyncAnthropic, questions: list[str]
) -> None:
    with pytest.raises(anthropic.BadRequestError) as error:
        await claude.messages.create(
            model=ask.model,
            max_tokens=MAX_TOKENS,
            messages=[{"role": "user", "content": questions[0]}],
            thinking={"type": "enabled", "budget_tokens": -5},
        )
    assert error.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]
    assert "-5" in error.value.message
