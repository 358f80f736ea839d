"""Budgets beside the rest of the API: without a cut nothing changes, with one all else stays correct."""

import re
from collections import Counter
from typing import Any

import pytest

from tests.serve.conftest import Server, events

BUDGET = 5
AMPLE = 400
FORMS = [
    ({"structured_outputs": {"choice": ["yes", "no"]}}, r"yes|no"),
    ({"structured_outputs": {"regex": r"\([0-9]{3}\)"}}, r"\([0-9]{3}\)"),
    ({"response_format": {"type": "json_object"}}, r"\{.*"),
]


@pytest.mark.parametrize(("form", "pattern"), FORMS)
@pytest.mark.parametrize("budget", [0, BUDGET, AMPLE])
@pytest.mark.parametrize("stream", [False, True])
async def test_structured_outputs_bind_the_answer(
    ask: Server, questions: list[str], form: dict[str, Any], pattern: str, budget: int, stream: bool
) -> None:
    answers = await ask.chats(questions[:4], temperature=0, thinking_budget=budget, stream=stream, **form)
    for answer in answers:
        (choice,) = answer.choices
        assert choice.thinking["tokens"] <= budget
        assert re.fullmatch(pattern, choice.content.strip(), re.DOTALL), choice
        assert bool(choice.reasoning) == (budget > 0)


@pytest.mark.parametrize(
    "params",
    [
        {"min_tokens": 40},
        {"ignore_eos": True, "max_tokens": 60},
        {"bad_words": ["answer"]},
        {"frequency_penalty": 1.5},
        {"presence_penalty": 1.5},
        {"repetition_penalty": 1.3},
        {"temperature": 1.0, "top_p": 0.9, "top_k": 20, "min_p": 0.01, "seed": 5},
        {"stop": ["boxed"]},
        {"logprobs": True, "top_logprobs": 2},
        {"n": 3, "temperature": 1.0, "seed": 9},
    ],
)
async def test_a_budget_that_does_not_cut_changes_nothing(
    ask: Server, questions: list[str], params: dict[str, Any]
) -> None:
    body = {"temperature": 0, "max_tokens": 128, **params}
    free = await ask.chats(questions[:8], **body)
    ample = await ask.chats(questions[:8], thinking_budget=100, **body)
    for one, other in zip(free, ample, strict=True):
        for expected, choice in zip(one.choices, other.choices, strict=True):
            if expected.thinking["tokens"] <= 100 and expected.thinking["stop_cause"] == "natural":
                assert choice.token_ids == expected.token_ids
                assert (choice.reasoning, choice.content) == (expected.reasoning, expected.content)
                assert choice.finish_reason == expected.finish_reason


async def test_sampling_parameters_hold_after_a_cut(ask: Server, questions: list[str]) -> None:
    body: dict[str, Any] = {"temperature": 0, "thinking_budget": BUDGET, "max_tokens": 90}
    plain = (await ask.chat(questions[0], **body)).choices[0]
    start = 1 + BUDGET + len(ask.stop_ids)
    assert plain.thinking["stop_cause"] == "budget"
    assert "answer" in plain.content
    assert len(plain.token_ids) < 60

    endless = (await ask.chat(questions[0], **body, ignore_eos=True)).choices[0]
    assert (len(endless.token_ids), endless.finish_reason) == (90, "length")
    assert endless.token_ids[: len(plain.token_ids)] == plain.token_ids

    long = (await ask.chat(questions[0], **body, min_tokens=60)).choices[0]
    assert len(long.token_ids) >= 60
    assert (await ask.chat(questions[0], **body, min_tokens=start)).choices[0].token_ids == plain.token_ids

    clean = (await ask.chat(questions[0], **body, bad_words=["answer"])).choices[0]
    assert "answer" not in clean.content

    first = plain.token_ids[start]
    barred = (await ask.chat(questions[0], **body, logit_bias={str(first): -100})).choices[0]
    assert first not in barred.token_ids[start:]

    digits = (await ask.post("/tokenize", {"prompt": "0123456789", "add_special_tokens": False})).json()
    allowed = [*digits["tokens"], ask.open_id]
    only = (await ask.chat(questions[0], **body, allowed_token_ids=allowed)).choices[0]
    assert only.thinking["stop_cause"] == "budget"
    assert set(only.token_ids[start:]) <= set(digits["tokens"])


async def test_frequency_penalties_count_all_of_the_reply(ask: Server, questions: list[str]) -> None:
    """What was thought and inserted weighs on the answer.

    The oracle gives the tokens up to the cut as a prompt, and what they weigh as a bias.
    """
    weight, thinking = 2.0, {"budget": BUDGET, "stop_text": "The answer is " * 8 + "</think>\n\n"}
    body = {"temperature": 0, "max_tokens": 120, "thinking": thinking}
    for question in questions[:4]:
        plain = (await ask.chat(question, **body)).choices[0]
        cut = await ask.chat(question, **body, frequency_penalty=weight)
        (choice,) = cut.choices
        assert choice.thinking["stop_cause"] == "budget"
        start = 1 + BUDGET + choice.thinking["inserted_tokens"]
        said = Counter(choice.token_ids[:start])
        oracle = await ask.post(
            "/v1/completions",
            {
                "prompt": [*cut.prompt_token_ids, *choice.token_ids[:start]],
                "temperature": 0,
                "max_tokens": 120 - start,
                "frequency_penalty": weight,
                "logit_bias": {i: -weight * n for i, n in said.items()} | {ask.open_id: -100.0},
                "return_token_ids": True,
            },
        )
        assert choice.token_ids[start:] == oracle.json()["choices"][0]["token_ids"]
        assert choice.content != plain.content


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("budget", [BUDGET, AMPLE])
async def test_echo_and_logprobs_on_completions(
    ask: Server, questions: list[str], budget: int, stream: bool
) -> None:
    prompt = f"<|im_start|>user\n{questions[0]}<|im_end|>\n<|im_start|>assistant\n"
    body = {
        "prompt": prompt,
        "temperature": 0,
        "max_tokens": 100,
        "logprobs": 1,
        "echo": True,
        "return_tokens_as_token_ids": True,
        "thinking_budget": budget,
        "stream": stream,
    }
    (stop_id,) = (await ask.post("/tokenize", {"prompt": "<|im_end|>"})).json()["tokens"]
    response = await ask.post("/v1/completions", body)
    assert response.status_code == 200, response.text
    payloads = events(response.text) if stream else [response.json()]
    choices = [payload["choices"][0] for payload in payloads if payload["choices"]]
    text = "".join(choice["text"] for choice in choices)
    prompt_ids = (await ask.post("/tokenize", {"prompt": prompt})).json()["tokens"]
    tokens = [t for choice in choices if choice["logprobs"] for t in choice["logprobs"]["tokens"]]
    values = [v for choice in choices if choice["logprobs"] for v in choice["logprobs"]["token_logprobs"]]
    ids = [int(token.removeprefix("token_id:")) for token in tokens]
    reply_ids = ids[len(prompt_ids) :]
    assert text.startswith(prompt)
    assert ids[: len(prompt_ids)] == prompt_ids
    assert (await ask.post("/detokenize", {"tokens": reply_ids[:-1]})).json()["prompt"] == text[len(prompt) :]
    assert len(values) == len(ids)
    assert values[0] is None
    assert all(value <= 0 for value in values[1:])
    assert reply_ids[0] == ask.open_id
    assert reply_ids[-1] == stop_id
    at = 1 + BUDGET
    cut = reply_ids[at : at + len(ask.stop_ids)] == ask.stop_ids
    assert cut == (budget == BUDGET)


async def test_logprobs_of_kept_tokens_are_the_uncut_ones(ask: Server, questions: list[str]) -> None:
    async def entries(**fields: Any) -> list[dict[str, Any]]:
        body = {
            "messages": [{"role": "user", "content": questions[0]}],
            "temperature": 0,
            "max_tokens": 80,
            "logprobs": True,
            "top_logprobs": 3,
            **fields,
        }
        reply = (await ask.post("/v1/chat/completions", body)).json()
        return reply["choices"][0]["logprobs"]["content"]

    free, cut = await entries(), await entries(thinking_budget=BUDGET)
    for expected, entry in zip(free[: 1 + BUDGET], cut[: 1 + BUDGET], strict=True):
        assert entry["token"] == expected["token"]
        assert entry["logprob"] == pytest.approx(expected["logprob"], abs=0.05)
        assert [top["token"] for top in entry["top_logprobs"]] == [
            t["token"] for t in expected["top_logprobs"]
        ]
    answer = cut[1 + BUDGET + len(ask.stop_ids) :]
    assert answer
    assert all(len(entry["top_logprobs"]) == 3 for entry in answer)


THOUGHT = "first of all"
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}


def conversation(*after: dict[str, Any]) -> list[dict[str, Any]]:
    turn = {"role": "assistant", "content": "", "reasoning_content": THOUGHT, "tool_calls": [CALL]}
    return [
        {"role": "user", "content": "1"},
        turn,
        {"role": "tool", "tool_call_id": "c1", "content": "7"},
        *after,
    ]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thinking_stays_until_the_next_question(ask: Server, field: str) -> None:
    """Qwen3's template keeps the thinking between tool calls and drops it with the next question."""

    async def prompt(messages: list[dict[str, Any]]) -> str:
        messages[1][field] = messages[1].pop("reasoning_content")
        answer = await ask.chat(messages, max_tokens=24, thinking_budget=BUDGET, temperature=0)
        (choice,) = answer.choices
        assert choice.thinking["tokens"] <= BUDGET
        assert choice.thinking["stop_cause"] != "disabled"
        return (await ask.post("/detokenize", {"tokens": answer.prompt_token_ids})).json()["prompt"]

    during = await prompt(conversation())
    assert f"<think>\n{THOUGHT}\n</think>" in during
    assert "<tool_response>\n7\n</tool_response>" in during
    after = await prompt(
        conversation({"role": "assistant", "content": "7"}, {"role": "user", "content": "2"})
    )
    assert THOUGHT not in after
    assert '{"name": "look", "arguments": {"at": 1}}' in after


async def test_a_tool_call_ends_thinking(ask: Server, questions: list[str]) -> None:
    """No cut lands in a tool call that the model begins without closing its thinking."""
    (call,) = (await ask.post("/tokenize", {"prompt": "<tool_call>", "add_special_tokens": False})).json()[
        "tokens"
    ]
    answer = await ask.chat(
        questions[0],
        n=32,
        temperature=1,
        seed=1,
        max_tokens=60,
        thinking_budget=8,
        logit_bias={str(call): 20},
    )
    seen = 0
    for choice in answer.choices:
        ids = choice.token_ids
        begun = ids.index(call) if call in ids else 0
        if begun > 1 and ask.close_id not in ids[:begun] and ask.open_id not in ids[1:]:
            seen += 1
            assert choice.thinking["tokens"] == begun - 1
            assert (choice.thinking["stop_cause"], choice.thinking["inserted_tokens"]) == ("natural", 0)
            assert "<tool_call>" not in choice.reasoning
            assert choice.content.startswith("<tool_call>")
    assert seen


async def test_beam_search_is_refused_with_a_reason(ask: Server) -> None:
    body = {"messages": [{"role": "user", "content": "1"}], "use_beam_search": True, "n": 2}
    refused = await ask.post("/v1/chat/completions", {**body, "thinking_budget": BUDGET})
    assert refused.status_code == 400
    assert "beam search has no thinking budget" in refused.json()["error"]["message"]
    served = await ask.post("/v1/chat/completions", {**body, "max_tokens": 8})
    assert served.status_code == 200, served.text
    assert len(served.json()["choices"]) == 2
