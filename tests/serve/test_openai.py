"""The unmodified `openai` package: chat and completions, streamed and not, with budgets in `extra_body`."""

from collections.abc import AsyncIterator

import openai
import pytest

from tests.serve.conftest import Server, facts

BUDGET = 7


@pytest.fixture
async def client(ask: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{ask.base_url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("body", [{"thinking_token_budget": BUDGET}, {"thinking": {"budget": BUDGET}}])
async def test_chat(ask: Server, client: openai.AsyncOpenAI, questions: list[str], body: dict) -> None:
    reply = await client.chat.completions.create(
        model=ask.model,
        messages=[{"role": "user", "content": questions[0]}],
        temperature=0,
        max_tokens=128,
        extra_body=body,
    )
    (choice,) = reply.choices
    assert choice.thinking["tokens"] <= BUDGET  # type: ignore[attr-defined]
    assert choice.message.reasoning == choice.message.reasoning_content  # type: ignore[attr-defined]
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    tokens = choice.thinking["tokens"]  # type: ignore[attr-defined]
    assert reply.usage.completion_tokens_details.reasoning_tokens == tokens


async def test_chat_stream(ask: Server, client: openai.AsyncOpenAI, questions: list[str]) -> None:
    whole = await ask.chat(questions[0], temperature=0, max_tokens=128, thinking_budget=BUDGET)
    stream = await client.chat.completions.create(
        model=ask.model,
        messages=[{"role": "user", "content": questions[0]}],
        temperature=0,
        max_tokens=128,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"thinking_budget": BUDGET},
    )
    reasoning = content = ""
    reports = []
    usage = None
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            content += choice.delta.content or ""
            if choice.finish_reason:
                reports.append(facts(choice.thinking))  # type: ignore[attr-defined]
    (choice,) = whole.choices
    assert (reasoning, content, reports) == (choice.reasoning, choice.content, [facts(choice.thinking)])
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == choice.thinking["tokens"]


@pytest.mark.parametrize("stream", [False, True])
async def test_completions(ask: Server, client: openai.AsyncOpenAI, stream: bool) -> None:
    """Raw prompts that open the block themselves: two prompts, two choices each."""
    prompts = [f"<|im_start|>user\n{i}<|im_end|>\n<|im_start|>assistant\n<think>" for i in range(2)]
    reply = await client.completions.create(
        model=ask.model,
        prompt=prompts,
        n=2,
        seed=1,
        max_tokens=96,
        stream=stream,
        extra_body={"thinking_budget": BUDGET, "return_token_ids": True},
    )
    reports: dict[int, dict] = {}
    ids: dict[int, list[int]] = {index: [] for index in range(4)}
    chunks = [chunk async for chunk in reply] if stream else [reply]
    for chunk in chunks:
        for choice in chunk.choices:
            ids[choice.index] += choice.token_ids or []
            if choice.finish_reason:
                reports[choice.index] = choice.thinking
    assert sorted(reports) == [0, 1, 2, 3]
    for index, report in reports.items():
        end = report["tokens"]
        closing = ask.stop_ids if report["stop_cause"] == "budget" else [ask.close_id]
        assert end <= BUDGET
        assert ids[index][end : end + len(closing)] == closing


async def test_bad_budget_is_a_bad_request(
    ask: Server, client: openai.AsyncOpenAI, questions: list[str]
) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        await client.chat.completions.create(
            model=ask.model,
            messages=[{"role": "user", "content": questions[0]}],
            extra_body={"thinking": {"budget": -5}},
        )
    assert error.value.param == "thinking.budget"
    assert "-5" in error.value.message
