"""Both clients against the real server: routes, budgets, reports, token ids, streams that equal replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from clients import (
    AnswerDelta,
    APIError,
    AsyncClient,
    Client,
    Finished,
    Reply,
    Started,
    ThinkingDelta,
    ThinkingReport,
)

# Its thinking is longer than the small budgets below.
PROBLEM = "Modulo 10, b=5, t=b+6, m=t*7, u=m+3, c=u+9. What is c?"
BUDGETS = [None, -1, 0, 1, 5, 100_000]
Spoken = ThinkingDelta | AnswerDelta


def endless(client: Client) -> dict[str, Any]:
    """Options of a reply that thinks until it is stopped: its close tag is barred."""
    extra = {"min_tokens": 800, "logit_bias": {client.thinking_format().close_id: -100}}
    return {"temperature": 0, "max_tokens": 800, "extra": extra}


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[Client]:
    with Client(server.base_url, timeout=60) as opened:
        yield opened


@pytest.fixture
async def async_client(server: Any) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.base_url, timeout=60) as opened:
        yield opened


def without_id(reply: Reply) -> Reply:
    """A reply without what differs each time: ids and seconds."""
    choices = tuple(
        replace(choice, report=choice.report and replace(choice.report, seconds=None))
        for choice in reply.choices
    )
    return replace(reply, id="", thinking_id=None, choices=choices)


def test_routes(client: Client, server: Any) -> None:
    assert client.health()
    assert client.models() == [server.model]
    thinking_format = client.thinking_format()
    assert (thinking_format.model, thinking_format.open, thinking_format.close) == (
        server.model,
        "<think>",
        "</think>",
    )
    assert thinking_format.stop_text.count(thinking_format.close) == 1
    assert thinking_format.close_id in thinking_format.stop_ids


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_stream_adds_up_to_the_reply(client: Client, budget: int | None) -> None:
    options: dict[str, Any] = {
        "budget": budget,
        "temperature": 0,
        "return_token_ids": True,
        "max_tokens": 60,
    }
    reply = client.chat(PROBLEM, **options)
    started, *deltas, finished = client.stream(PROBLEM, **options)
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert started.thinking_id == finished.reply.thinking_id != reply.thinking_id
    assert without_id(finished.reply) == without_id(reply)
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == reply.thinking
    assert "".join(d.text for d in deltas if isinstance(d, AnswerDelta)) == reply.answer
    assert reply.report is not None
    assert reply.usage is not None
    assert reply.usage.reasoning_tokens == reply.report.tokens
    assert reply.choices[0].token_ids is not None
    assert len(reply.choices[0].token_ids) == reply.usage.completion_tokens
    assert reply.prompt_token_ids is not None
    assert len(reply.prompt_token_ids) == reply.usage.prompt_tokens


def test_a_cut_reply(client: Client) -> None:
    thinking_format = client.thinking_format()
    reply = client.chat(PROBLEM, budget=5, temperature=0, return_token_ids=True, max_tokens=60)
    assert reply.report is not None
    assert (reply.report.stop_cause, reply.report.budget, reply.report.tokens) == ("budget", 5, 5)
    assert reply.report.inserted_tokens == len(thinking_format.stop_ids)
    assert reply.thinking.rstrip().endswith(thinking_format.stop_text.partition("</think>")[0].rstrip())
    token_ids = reply.choices[0].token_ids
    assert token_ids is not None
    assert token_ids[0] == thinking_format.open_id
    assert token_ids[6 : 6 + len(thinking_format.stop_ids)] == thinking_format.stop_ids


def test_the_stop_text_of_one_request(client: Client) -> None:
    reply = client.chat(PROBLEM, budget=5, stop_text="Enough.\n</think>\n\n", temperature=0, max_tokens=60)
    assert reply.thinking.rstrip().endswith("Enough.")


@pytest.mark.parametrize("options", [{"budget": 0}, {"enable_thinking": False}])
def test_thinking_off(client: Client, options: dict[str, Any]) -> None:
    reply = client.chat(PROBLEM, temperature=0, max_tokens=60, **options)
    assert reply.thinking == ""
    assert reply.answer
    assert reply.report is not None
    assert (reply.report.stop_cause, reply.report.tokens) == ("disabled", 0)


def test_every_member_of_thinking_may_be_asked(client: Client) -> None:
    reply = client.chat(PROBLEM, temperature=0, thinking={"budget": 6, "soft": 3, "deadline": 100})
    report = reply.report
    assert isinstance(report, ThinkingReport)
    assert report.stop_cause in ("budget", "soft")
    assert (report.budget, report.deadline, report.deadline_missed, report.blocks) == (6, 100, False, 1)
    assert report.seconds is not None
    assert report.seconds > 0
    assert (report.lowered_by, report.probes, report.extra) == (None, None, {})
    with pytest.raises(APIError) as caught:
        client.chat(PROBLEM, thinking={"dedline": 100})
    assert caught.value.param == "thinking.dedline"


def test_a_streamed_reply_answers_now(client: Client) -> None:
    thinking_id, thought, finished = None, 0, None
    for event in client.stream(PROBLEM, **endless(client)):
        if isinstance(event, Started):
            thinking_id = event.thinking_id
        elif isinstance(event, ThinkingDelta):
            thought += 1
            if thought == 10:
                assert thinking_id is not None
                assert client.stop(thinking_id) == 1
        elif isinstance(event, Finished):
            finished = event.reply
    assert finished is not None
    assert finished.report is not None
    assert finished.report.stop_cause == "client"
    assert 10 <= finished.report.tokens < 700
    assert finished.answer
    with pytest.raises(APIError) as caught:
        client.stop(str(thinking_id))
    assert caught.value.status == 404


async def test_a_named_request_answers_now(client: Client, async_client: AsyncClient) -> None:
    asked = asyncio.create_task(async_client.chat(PROBLEM, thinking_id="mine", **endless(client)))
    stopping = 0
    while not stopping:
        await asyncio.sleep(0.05)
        with suppress(APIError):  # not there yet
            stopping = await async_client.stop("mine")
    reply = await asked
    assert (stopping, reply.thinking_id) == (1, "mine")
    assert reply.report is not None
    assert reply.report.stop_cause == "client"


def test_several_choices(client: Client) -> None:
    options: dict[str, Any] = {"n": 3, "budget": 4, "temperature": 1.0, "max_tokens": 200}
    *deltas, finished = client.stream(PROBLEM, **options)
    assert isinstance(finished, Finished)
    assert [choice.index for choice in finished.reply.choices] == [0, 1, 2]
    for choice in finished.reply.choices:
        assert choice.report is not None
        assert choice.report.tokens <= 4
        own = [d for d in deltas if isinstance(d, Spoken) and d.choice == choice.index]
        assert "".join(d.text for d in own if isinstance(d, ThinkingDelta)) == choice.thinking
        assert "".join(d.text for d in own if isinstance(d, AnswerDelta)) == choice.answer


def test_complete_continues_token_ids(client: Client) -> None:
    asked = client.chat(PROBLEM, budget=5, temperature=0, return_token_ids=True, max_tokens=60)
    assert asked.prompt_token_ids is not None
    generated = asked.choices[0].token_ids
    assert generated is not None
    answer_start = 1 + 5 + len(client.thinking_format().stop_ids)
    prompt = asked.prompt_token_ids + generated[:answer_start]
    reply = client.complete(prompt, temperature=0, max_tokens=8, return_token_ids=True)
    assert reply.prompt_token_ids == prompt
    assert reply.choices[0].token_ids == generated[answer_start : answer_start + 8]
    assert reply.answer
    assert asked.answer.strip().startswith(reply.answer.strip())
    assert reply.thinking == ""


def test_a_bad_budget_names_its_field(client: Client) -> None:
    with pytest.raises(APIError, match="-5") as caught:
        client.chat(PROBLEM, budget=-5)
    assert caught.value.status == 400
    assert caught.value.param == "thinking.budget"
    with pytest.raises(APIError) as caught:
        list(client.stream(PROBLEM, budget=5, stop_text="no tag"))
    assert caught.value.param == "thinking.stop_text"


def test_closing_a_stream_leaves_the_client_usable(client: Client) -> None:
    events = client.stream(PROBLEM, budget=50)
    assert next(events)
    events.close()
    assert client.chat(PROBLEM, budget=0, max_tokens=20).answer


async def test_the_async_twin_gives_the_same(client: Client, async_client: AsyncClient) -> None:
    options: dict[str, Any] = {"budget": 5, "temperature": 0, "return_token_ids": True, "max_tokens": 60}
    expected = without_id(client.chat(PROBLEM, **options))
    replies = await asyncio.gather(*(async_client.chat(PROBLEM, **options) for _ in range(8)))
    assert [without_id(reply) for reply in replies] == [expected] * 8
    started, *deltas, finished = [event async for event in async_client.stream(PROBLEM, **options)]
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert without_id(finished.reply) == expected
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == expected.thinking
    prompt = expected.prompt_token_ids or []
    assert without_id(await async_client.complete(prompt, temperature=0, max_tokens=8)) == without_id(
        client.complete(prompt, temperature=0, max_tokens=8)
    )
    assert await async_client.models() == client.models()
    assert await async_client.thinking_format() == client.thinking_format()
    assert await async_client.health()
    with pytest.raises(APIError) as caught:
        await async_client.chat(PROBLEM, budget=-5)
    assert caught.value.param == "thinking.budget"
