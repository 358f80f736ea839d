"""Budgets are exact to the token: every budget, streamed or not, one choice or four, 32 requests at once.

The oracle is the same request without a budget (same seed, so the same natural reply), and a cut computed
from its token ids alone.
"""

import asyncio

import pytest

from tests.serve.conftest import Answer, Choice, Server, facts

BUDGETS = [0, 1, 2, 7, 16, 64, 10**6]
SAMPLING = {1: {"temperature": 0}, 4: {"temperature": 1, "seed": 7}}


def forbidden(ids: list[int], budget: int, server: Server) -> tuple[int, bool] | None:
    """Where a natural reply first breaks the budget, and whether a block is open there."""
    inside, used = False, 0
    for position, token in enumerate(ids):
        if token == server.close_id:
            inside = False
        elif inside:
            if used == budget:
                return position, True
            used += 1
        elif token == server.open_id:
            if used == budget:
                return position, False
            inside = True
    return None


def one_block(ids: list[int], server: Server) -> bool:
    """Thinking, then an answer; vLLM's reasoning parser counts a later block to the content."""
    return ids.count(server.close_id) <= 1 and server.open_id not in ids[1:]


def check(got: Choice, natural: Choice, budget: int, server: Server) -> None:
    ids, report = got.token_ids, got.thinking
    stop = server.stop_ids
    assert report["budget"] == budget
    assert report["blocks"] == ids.count(server.open_id)
    if budget == 0:
        assert server.open_id not in ids
        assert facts(report) == {"stop_cause": "disabled", "budget": 0, "tokens": 0, "inserted_tokens": 0}
        assert got.reasoning == ""
        return
    broken = forbidden(natural.token_ids, budget, server)
    if broken is None:
        # A natural finish is never altered.
        assert ids == natural.token_ids
        if one_block(ids, server):
            assert (got.reasoning, got.content) == (natural.reasoning, natural.content)
        assert report["tokens"] == natural.thinking["tokens"] <= budget
        assert report["stop_cause"] == natural.thinking["stop_cause"]
        assert report["inserted_tokens"] == 0
        return
    position, is_open = broken
    assert ids[:position] == natural.token_ids[:position]
    assert report["tokens"] == budget
    assert server.open_id not in ids[position:]
    if not is_open:
        assert facts(report) == {
            "stop_cause": "natural",
            "budget": budget,
            "tokens": budget,
            "inserted_tokens": 0,
        }
        return
    assert ids[position : position + len(stop)] == stop
    assert len(ids) > position + len(stop)
    assert facts(report) == {
        "stop_cause": "budget",
        "budget": budget,
        "tokens": budget,
        "inserted_tokens": len(stop),
    }
    if not one_block(ids, server):
        return
    # Whole, once, as reasoning.
    sentence = server.form["stop_text"].split(server.form["close"])[0]
    assert got.reasoning.endswith(sentence)
    assert (got.reasoning + got.content).count(sentence) == 1
    assert server.form["close"] not in got.reasoning + got.content


@pytest.fixture(scope="session")
async def natural(ask: Server, questions: list[str]) -> dict[int, list[Answer]]:
    """The replies without a budget, by number of choices."""
    return {n: await ask.chats(questions, n=n, **SAMPLING[n]) for n in SAMPLING}


def test_the_model_thinks(natural: dict[int, list[Answer]]) -> None:
    """The matrix means nothing unless thinking ends on both sides of the budgets."""
    lengths = [choice.thinking["tokens"] for answer in natural[4] for choice in answer.choices]
    assert min(lengths) <= 64
    assert max(lengths) > 16


@pytest.mark.parametrize("n", SAMPLING)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("budget", BUDGETS)
async def test_matrix(
    ask: Server, questions: list[str], natural: dict[int, list[Answer]], budget: int, stream: bool, n: int
) -> None:
    answers = await ask.chats(questions, n=n, stream=stream, thinking_budget=budget, **SAMPLING[n])
    for answer, oracle in zip(answers, natural[n], strict=True):
        for choice, reference in zip(answer.choices, oracle.choices, strict=True):
            check(choice, reference, budget, ask)
        usage = answer.usage
        assert usage["completion_tokens"] == sum(len(choice.token_ids) for choice in answer.choices)
        assert usage["prompt_tokens"] == len(answer.prompt_token_ids)
        details = usage["completion_tokens_details"]
        assert details["reasoning_tokens"] == sum(choice.thinking["tokens"] for choice in answer.choices)


@pytest.mark.parametrize("stream", [False, True])
async def test_natural_length_equal_to_the_budget(
    ask: Server, questions: list[str], natural: dict[int, list[Answer]], stream: bool
) -> None:
    """Thinking that ends by itself at its last token is no cut, and an answer begun for a cut is dropped."""
    cases = [
        (question, index, reference)
        for question, answer in zip(questions, natural[4], strict=True)
        for index, reference in enumerate(answer.choices)
        if reference.thinking["tokens"] > 1 and reference.thinking["stop_cause"] == "natural"
    ][:4]
    assert cases
    for question, index, reference in cases:
        length = reference.thinking["tokens"]
        seed = SAMPLING[4]["seed"] + 100 * questions.index(question)
        for budget, cause in ((length, "natural"), (length - 1, "budget")):
            sampling = {**SAMPLING[4], "seed": seed}
            answer = await ask.chat(question, thinking_budget=budget, n=4, stream=stream, **sampling)
            check(answer.choices[index], reference, budget, ask)
            assert answer.choices[index].thinking["stop_cause"] == cause
    while await ask.metric("vllm:num_requests_running"):
        await asyncio.sleep(0.1)
