"""Unmodified `litellm`, `langchain-openai` and `qwen-agent` get budgets through and thinking back."""

import asyncio
from typing import Any

import pytest

from tests.serve.conftest import Choice, Server

pytestmark = pytest.mark.slow

BUDGET = 5
MAX_TOKENS = 128


@pytest.fixture
async def expected(ask: Server, questions: list[str]) -> Choice:
    """The reply over plain HTTP."""
    answer = await ask.chat(questions[0], temperature=0, max_tokens=MAX_TOKENS, thinking_budget=BUDGET)
    (choice,) = answer.choices
    assert choice.thinking["stop_cause"] == "budget"
    return choice


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
@pytest.mark.parametrize("stream", [False, True])
async def test_litellm(
    ask: Server,
    questions: list[str],
    expected: Choice,
    provider: str,
    stream: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        "LITELLM_LOCAL_MODEL_COST_MAP", "True"
    )  # else importing it asks the internet for prices
    import litellm

    body: dict[str, Any] = {
        "model": f"{provider}/{ask.model}",
        "api_base": f"{ask.base_url}/v1",
        "api_key": "none",
        "messages": [{"role": "user", "content": questions[0]}],
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
        "extra_body": {"thinking_budget": BUDGET},
    }
    if stream:
        reply = await litellm.acompletion(**body, stream=True)
        messages = [chunk.choices[0].delta async for chunk in reply]
    else:
        whole = await asyncio.to_thread(litellm.completion, **body)
        messages = [whole.choices[0].message]
        assert whole.usage.completion_tokens_details.reasoning_tokens == BUDGET
        report = whole.choices[0].provider_specific_fields["thinking"]
        assert (report["stop_cause"], report["tokens"]) == ("budget", BUDGET)
    reasoning = "".join(getattr(message, "reasoning_content", None) or "" for message in messages)
    assert reasoning == expected.reasoning
    assert "".join(message.content or "" for message in messages) == expected.content


@pytest.mark.parametrize("responses", [False, True])
async def test_langchain(ask: Server, questions: list[str], expected: Choice, responses: bool) -> None:
    """It counts reasoning tokens; their text it keeps only from responses that are not streamed."""
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(
        model=ask.model,
        base_url=f"{ask.base_url}/v1",
        api_key="none",
        temperature=0,
        max_tokens=MAX_TOKENS,
        use_responses_api=responses,
        stream_usage=True,
        extra_body={"thinking_budget": BUDGET},
    )
    whole = await asyncio.to_thread(model.invoke, questions[0])
    parts = [part async for part in model.astream(questions[0])]
    streamed = parts[0]
    for part in parts[1:]:
        streamed += part
    for message in (whole, streamed):
        assert message.text == expected.content
        assert message.usage_metadata["output_token_details"]["reasoning"] == BUDGET
    if responses:
        thought, _ = whole.content
        assert thought["content"][0]["text"] == expected.reasoning


@pytest.mark.parametrize("stream", [False, True])
async def test_qwen_agent(ask: Server, questions: list[str], expected: Choice, stream: bool) -> None:
    from qwen_agent.llm import get_chat_model

    settings = {"enable_thinking": True, "thinking_budget": BUDGET}
    model = get_chat_model(
        {
            "model": ask.model,
            "model_type": "oai",
            "model_server": f"{ask.base_url}/v1",
            "api_key": "none",
            "generate_cfg": {"temperature": 0, "max_tokens": MAX_TOKENS, "extra_body": settings},
        }
    )
    turn = [{"role": "user", "content": questions[0]}]

    def chat() -> list[dict[str, Any]]:
        reply = model.chat(messages=turn, stream=stream)
        return list(reply)[-1] if stream else reply

    said = await asyncio.to_thread(chat)
    assert "".join(message.get("reasoning_content", "") for message in said) == expected.reasoning
    assert "".join(message["content"] for message in said) == expected.content
