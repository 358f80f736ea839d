"""Every policy on the real server: where thinking stops, what is said about it, and that the answer comes."""

import asyncio

import pytest

from serve.budget import LoopStop
from serve.formats import load_format
from serve.stops import sentence_ends
from tests.serve.conftest import Answer, Choice, Server, events, facts
from tests.serve.test_policies import is_cycle
from tests.serve.test_trace import FORM

TURN_END = FORM.tokenizer.eos_token_id
STREAMS = pytest.mark.parametrize("stream", [False, True])


ENDLESS = {
    "temperature": 0,
    "logit_bias": {str(FORM.close_id): -100, str(TURN_END): -100},
    "structured_outputs": {"regex": r"The answer is \\boxed\{[0-9]\}"},
}
"""Sampling whose thinking does not end by itself, while its answer is short."""

LOOPING = {"frequency_penalty": -2, "presence_penalty": -2}
"""Sampling that repeats itself sooner or later."""


def thought(choice: Choice, server: Server) -> list[int]:
    """The thinking of a cut choice whose only block opens the reply."""
    count = choice.thinking["tokens"]
    ids = choice.token_ids
    assert ids[0] == server.open_id
    assert ids[1 + count : 1 + count + len(server.stop_ids)] == server.stop_ids
    return ids[1 : 1 + count]


def check_answered(choice: Choice) -> None:
    """The reply went on after its thinking, and ended by itself."""
    assert choice.finish_reason == "stop"
    assert "\\boxed" in choice.content


@pytest.fixture(scope="module")
async def natural(ask: Server, questions: list[str]) -> list[Answer]:
    return await ask.chats(questions, temperature=0)


@STREAMS
async def test_soft(ask: Server, questions: list[str], natural: list[Answer], stream: bool) -> None:
    """Cut at the first sentence or line end of the window, else at the budget; natural ends stay."""
    budget, soft = 16, 12
    thinking = {"budget": budget, "soft": soft}
    answers = await ask.chats(questions, temperature=0, stream=stream, thinking=thinking)
    causes = set()
    for answer, free in zip(answers, natural, strict=True):
        (choice,), (reference,) = answer.choices, free.choices
        causes.add(choice.thinking["stop_cause"])
        ids = reference.token_ids[1 : 1 + reference.thinking["tokens"]]
        ends = (
            position
            for position in range(budget - soft, min(budget, len(ids)))
            if position and sentence_ends(FORM, ids[:position], ids[position])
        )
        expected = next(ends, budget)
        if len(ids) <= expected:
            assert choice.token_ids == reference.token_ids
            continue
        assert thought(choice, ask) == ids[:expected]
        assert choice.thinking["stop_cause"] == ("budget" if expected == budget else "soft")
        check_answered(choice)
    assert {"soft", "natural"} <= causes


@STREAMS
async def test_loop(ask: Server, questions: list[str], stream: bool) -> None:
    """Thinking that repeats itself is cut at the very token that makes it a loop."""
    loop = LoopStop(repeats=3, tokens=9)
    thinking = {"loop": {"repeats": loop.repeats, "tokens": loop.tokens}}
    answers = await ask.chats(questions[:8], stream=stream, thinking=thinking, **ENDLESS, **LOOPING)
    for answer in answers:
        (choice,) = answer.choices
        assert choice.thinking["stop_cause"] == "loop"
        ids = thought(choice, ask)
        assert is_cycle(ids, loop)
        assert not any(is_cycle(ids[:end], loop) for end in range(len(ids)))


@STREAMS
@pytest.mark.parametrize("stop", [None, ["\n\n\n"]])
async def test_floor(
    ask: Server, questions: list[str], natural: list[Answer], stream: bool, stop: list[str] | None
) -> None:
    """Thinking that ends below the floor goes on after the wait text; longer thinking is untouched."""
    floor = 24
    wait = list(FORM.encode("Wait"))
    answers = await ask.chats(
        questions, temperature=0, stream=stream, stop=stop, thinking={"min_tokens": floor}
    )
    waited = 0
    for answer, free in zip(answers, natural, strict=True):
        (choice,), (reference,) = answer.choices, free.choices
        report, before = choice.thinking, reference.thinking["tokens"]
        if before >= floor:
            assert choice.token_ids == reference.token_ids
            assert report["waits"] == 0
            continue
        waited += 1
        assert report["stop_cause"] in ("natural", "length")
        assert report["tokens"] >= floor
        assert report["waits"] >= 1
        assert report["inserted_tokens"] == report["waits"] * len(wait)
        assert choice.token_ids[: 1 + before] == reference.token_ids[: 1 + before]
        assert choice.token_ids[1 + before : 1 + before + len(wait)] == wait
        assert choice.reasoning.count("Wait") >= report["waits"]
    assert waited


@STREAMS
async def test_floor_under_a_budget(ask: Server, questions: list[str], stream: bool) -> None:
    thinking = {"min_tokens": 20, "budget": 20}
    for answer in await ask.chats(questions[:8], temperature=0, stream=stream, thinking=thinking):
        (choice,) = answer.choices
        assert choice.thinking["tokens"] == 20
        check_answered(choice)


@STREAMS
async def test_confident(ask: Server, questions: list[str], natural: list[Answer], stream: bool) -> None:
    """Any answer is certain enough for a threshold near 0, and none for the sum of three equal probes."""
    every = 6
    easy = {"confident": {"every": every, "threshold": 1e-9, "tokens": 4}}
    hard = {"confident": {"every": every, "threshold": 1.0, "tokens": 4, "agree": 100}}
    quick = await ask.chats(questions, temperature=0, stream=stream, thinking=easy)
    slow = await ask.chats(questions, temperature=0, stream=stream, thinking=hard)
    stopped = 0
    for first, second, free in zip(quick, slow, natural, strict=True):
        (choice,), (whole,), (reference,) = first.choices, second.choices, free.choices
        assert whole.token_ids == reference.token_ids
        length = reference.thinking["tokens"]
        assert whole.thinking["probes"] == length // every
        assert 0 < whole.thinking["probe_tokens"] <= 4 * max(1, whole.thinking["probes"]) or length < every
        if length < every:
            assert choice.token_ids == reference.token_ids
            continue
        stopped += 1
        assert thought(choice, ask) == reference.token_ids[1 : 1 + every]
        assert (choice.thinking["stop_cause"], choice.thinking["probes"]) == ("confident", 1)
        check_answered(choice)
    assert stopped


async def test_certainty_is_that_of_the_answer(
    ask: Server, questions: list[str], natural: list[Answer]
) -> None:
    """The probe's certainty is what the served model gives its greedy answer from the same prefix."""
    every, threshold = 8, 0.7
    thinking = {"confident": {"every": every, "threshold": threshold, "tokens": 32}}
    answers = await ask.chats(questions[:8], temperature=0, thinking=thinking)
    outcomes = set()
    for answer, free in zip(answers, natural, strict=False):
        (choice,), (reference,) = answer.choices, free.choices
        length = reference.thinking["tokens"]
        expected = length
        for tokens in range(every, length + 1, every):
            prefix = [*answer.prompt_token_ids, *reference.token_ids[: 1 + tokens], *ask.stop_ids]
            body = {
                "prompt": prefix,
                "temperature": 0,
                "max_tokens": 32,
                "logprobs": 0,
                "return_token_ids": True,
            }
            reply = (await ask.post("/v1/completions", body)).json()["choices"][0]
            values = reply["logprobs"]["token_logprobs"]
            if sum(values) / len(values) >= -0.35667494393873245:  # log of the threshold
                expected = tokens
                break
        outcomes.add(expected == length)
        assert choice.thinking["tokens"] == expected
        assert (choice.thinking["stop_cause"] == "confident") == (expected < length or length % every == 0)
    assert False in outcomes


@STREAMS
async def test_deadline(ask: Server, questions: list[str], stream: bool) -> None:
    """Endless thinking ends in time for its answer, which comes whole."""
    thinking = {"deadline": 1.0}
    answers = await ask.chats(questions[:12], max_tokens=1900, stream=stream, thinking=thinking, **ENDLESS)
    for answer in answers:
        (choice,) = answer.choices
        report = choice.thinking
        assert report["stop_cause"] == "deadline"
        assert report["deadline"] == 1.0
        assert report["deadline_missed"] == (report["seconds"] > 1.0)
        assert len(thought(choice, ask)) > 0
        check_answered(choice)


@STREAMS
async def test_a_deadline_that_has_passed_turns_thinking_off(
    ask: Server, questions: list[str], stream: bool
) -> None:
    answers = await ask.chats(questions, temperature=0, stream=stream, thinking={"deadline": 1e-6})
    for answer in answers:
        (choice,) = answer.choices
        report = choice.thinking
        assert (report["stop_cause"], report["tokens"], report["deadline_missed"]) == ("deadline", 0, True)
        assert choice.token_ids[: report["inserted_tokens"]] == list(FORM.empty_block_ids)
        assert (choice.reasoning.strip(), report["blocks"]) == ("", 1)
        check_answered(choice)


async def test_a_far_deadline_changes_nothing(
    ask: Server, questions: list[str], natural: list[Answer]
) -> None:
    answers = await ask.chats(questions, temperature=0, thinking={"deadline": 3600})
    for answer, free in zip(answers, natural, strict=True):
        assert answer.choices[0].token_ids == free.choices[0].token_ids
        assert answer.choices[0].thinking["deadline_missed"] is False


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("members", [{}, {"budget": 1800}, {"min_tokens": 1800}])
async def test_answer_now(ask: Server, questions: list[str], members: dict[str, int], n: int) -> None:
    """A streaming client asks for the answer: what was shown stays, nothing is lost, each choice answers."""
    body = {
        "messages": [{"role": "user", "content": questions[0]}],
        "stream": True,
        "return_token_ids": True,
        "n": n,
        "thinking": members,
        **ENDLESS,
        "temperature": 0.3,
    }
    shown, stopping = "", None
    async with ask.http.stream("POST", "/v1/chat/completions", json=body) as response:
        thinking_id = response.headers["x-thinking-id"]
        async for text in response.aiter_text():
            shown += text
            if stopping is None and shown.count('"reasoning"') >= 20:
                stopping = (await ask.post(f"/v1/thinking/{thinking_id}/stop", {})).json()
    assert stopping == {"id": thinking_id, "stopping": n}
    choices = [Choice() for _ in range(n)]
    for payload in events(shown):
        for part in payload["choices"]:
            choice = choices[part["index"]]
            choice.token_ids += part.get("token_ids") or []
            choice.reasoning += part["delta"].get("reasoning") or ""
            choice.content += part["delta"].get("content") or ""
            choice.finish_reason = part["finish_reason"] or choice.finish_reason
            choice.thinking = part.get("thinking") or choice.thinking
    sentence = ask.form["stop_text"].split(ask.form["close"])[0]
    for choice in choices:
        assert choice.thinking["stop_cause"] == "client"
        ids = thought(choice, ask)
        assert FORM.decode(tuple(ids), skip_special_tokens=True) + sentence == choice.reasoning
        check_answered(choice)
    while (again := await ask.post(f"/v1/thinking/{thinking_id}/stop", {})).status_code == 200:
        assert again.json()["stopping"] == 0  # the server is still putting the request away
    assert again.status_code == 404


@pytest.mark.parametrize("n", [1, 3])
async def test_answer_now_for_a_reply_that_is_not_streamed(ask: Server, questions: list[str], n: int) -> None:
    """Nothing of it has been shown, yet no thought is lost; the client names the id itself."""
    asked = asyncio.create_task(
        ask.http.post(
            "/v1/chat/completions",
            headers={"x-thinking-id": f"mine-{n}"},
            json={
                "messages": [{"role": "user", "content": questions[0]}],
                "return_token_ids": True,
                "n": n,
                **ENDLESS,
                "temperature": 0.3,
            },
        )
    )
    stopping = 0
    while not stopping and not asked.done():
        await asyncio.sleep(0.02)
        reply = await ask.post(f"/v1/thinking/mine-{n}/stop", {})
        stopping = reply.json().get("stopping", 0)
    response = await asked
    assert response.headers["x-thinking-id"] == f"mine-{n}"
    assert stopping == n
    for choice in response.json()["choices"]:
        assert choice["thinking"]["stop_cause"] == "client"
        assert "\\boxed" in choice["message"]["content"]


async def test_answer_reserve(ask: Server, questions: list[str]) -> None:
    thinking = {"budget": 300, "answer_reserve": 60}
    for answer in await ask.chats(questions[:2], max_tokens=200, thinking=thinking, **ENDLESS):
        (choice,) = answer.choices
        limit = 200 - 60 - len(ask.stop_ids) - 1
        assert facts(choice.thinking) == {
            "stop_cause": "budget",
            "budget": limit,
            "tokens": limit,
            "inserted_tokens": len(ask.stop_ids),
            "requested_budget": 300,
            "lowered_by": "answer_reserve",
        }
        check_answered(choice)


async def test_effort(ask: Server, questions: list[str]) -> None:
    profile = await ask.http.get("/v1/thinking/profile")
    measured = profile.is_success
    levels = profile.json()["levels"] if measured else {"low": 40, "medium": 100}
    for level in ("low", "medium"):
        budget = levels[level]
        reply = await ask.chat(questions[0], max_tokens=200, thinking={"effort": level}, **ENDLESS)
        (choice,) = reply.choices
        assert facts(choice.thinking) == {
            "stop_cause": "budget",
            "budget": budget,
            "tokens": budget,
            "inserted_tokens": len(ask.stop_ids),
            "effort": level,
            "calibrated": measured,
        }


async def test_the_stricter_wins(ask: Server, questions: list[str]) -> None:
    """All at once: the first to speak stops the thinking."""
    everything = {
        "budget": 50,
        "soft": 5,
        "deadline": 3600,
        "loop": True,
        "confident": {"every": 16, "threshold": 1e-9},
        "answer_reserve": 20,
        "min_tokens": 8,
    }
    cases = {
        "confident": {},
        "budget": {"confident": False, "budget": 10, "soft": 0},
        "deadline": {"deadline": 1e-6},
        "loop": {"confident": False, "loop": {"repeats": 2, "tokens": 2}},
    }
    body = {**ENDLESS, **LOOPING}
    for cause, change in cases.items():
        (choice,) = (await ask.chat(questions[0], thinking={**everything, **change}, **body)).choices
        assert choice.thinking["stop_cause"] == cause, choice.thinking


async def test_log_probabilities_stay_aligned_through_probes_and_stops(
    ask: Server, questions: list[str]
) -> None:
    body = {
        "messages": [{"role": "user", "content": questions[0]}],
        "thinking": {"confident": {"every": 5, "threshold": 1e-9, "tokens": 2}, "min_tokens": 10},
        "logprobs": True,
        "top_logprobs": 1,
        "return_token_ids": True,
        "temperature": 0,
    }
    (choice,) = (await ask.post("/v1/chat/completions", body)).json()["choices"]
    entries = choice["logprobs"]["content"]
    assert len(entries) == len(choice["token_ids"])
    assert choice["thinking"]["tokens"] == 10
    texts = [FORM.decode((token,), skip_special_tokens=False) for token in choice["token_ids"]]
    assert [entry["token"] for entry in entries] == texts


def test_wait_text_may_not_hold_control_tokens() -> None:
    form = load_format(FORM.tokenizer)
    for text in ("</think>", "<|im_end|>", ""):
        with pytest.raises(ValueError, match="wait_text"):
            form.encode_wait_text(text)


@pytest.mark.parametrize("deadline", [1e-6, 0.5])
async def test_echo_is_whole_after_an_interruption(
    ask: Server, questions: list[str], deadline: float
) -> None:
    """Nothing of the reply was shown when it was interrupted; what is told of the prompt is there, once."""
    prompt = f"<|im_start|>user\n{questions[0]}<|im_end|>\n<|im_start|>assistant\n"
    body = {"prompt": prompt, "echo": True, "logprobs": 1, "thinking": {"deadline": deadline}, **ENDLESS}
    response = await ask.post("/v1/completions", {**body, "max_tokens": 1900})
    assert response.status_code == 200, response.text
    reply = response.json()
    (choice,) = reply["choices"]
    assert choice["thinking"]["stop_cause"] == "deadline"
    assert len(choice["logprobs"]["token_logprobs"]) == reply["usage"]["total_tokens"]
    assert choice["text"].startswith(prompt)
