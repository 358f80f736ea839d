"""The rules of cutting: budgets, room for the answer, re-opened blocks, and replies in parts."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from evals.problems import Problem
from serve import DEFAULT_MODEL
from serve.formats import FORMAT_FILE, load_format
from trainer.rollouts.cut import Reply
from trainer.rollouts.servers import ServersBackend
from trainer.rollouts.text import to_completion
from trainer.rollouts.types import Rollout, RolloutRequest

TOKENIZER = AutoTokenizer.from_pretrained(DEFAULT_MODEL)
FORM = load_format(TOKENIZER, DEFAULT_MODEL)
OPEN, CLOSE, STOP = FORM.open_id, FORM.close_id, FORM.stop_ids
END = TOKENIZER.eos_token_id
A, B = TOKENIZER.encode("ab")[:2]
PROMPT = tuple(
    TOKENIZER.apply_chat_template(
        [{"role": "user", "content": "1+1"}], add_generation_prompt=True, return_dict=False
    )
)
CONTEXT = 2048


def request(**members: object) -> RolloutRequest:
    return replace(RolloutRequest(PROMPT, max_tokens=200, seed=1), **members)


def play(asked: RolloutRequest, script: list[int], *, chunk: int = 1, per_call: int | None = None) -> Rollout:
    """The reply of a model whose next token is the script's, by how much of it the reply has sampled."""
    reply = Reply(asked, FORM, context=CONTEXT, version=0, tokens_per_call=per_call)
    position = len(reply.token_ids) - sum(reply.inserted)
    while not reply.finished:
        segment = reply.segment()
        left = segment.max_tokens
        goes_on = True
        while goes_on:
            tokens = [script[i] if i < len(script) else END for i in range(position, position + chunk)]
            tokens = [A if segment.barred and token == OPEN else token for token in tokens][:left]
            if END in tokens:
                tokens = tokens[: tokens.index(END) + 1]
            left -= len(tokens)
            end = "stop" if tokens[-1] == END else "length" if left == 0 else None
            goes_on = reply.feed(tokens, [-0.5] * len(tokens), end)
            position = len(reply.token_ids) - sum(reply.inserted)
    return reply.rollout()


def test_a_trace_is_cut_one_token_past_its_budget_and_that_token_is_dropped() -> None:
    found = play(request(budget=3), [OPEN, A, A, B, B, A, CLOSE, A, END])
    assert found.token_ids[: 4 + len(STOP)] == (OPEN, A, A, B, *STOP)
    assert found.inserted[:5] == (False, False, False, False, True)
    assert sum(found.inserted) == len(STOP)
    assert found.thinking_tokens == 3
    assert found.stop_cause == "budget"
    assert all(lp == 0.0 for lp, ins in zip(found.logprobs, found.inserted, strict=True) if ins)


def test_a_trace_as_long_as_its_budget_is_natural() -> None:
    found = play(request(budget=3), [OPEN, A, A, B, CLOSE, A, END])
    assert found.token_ids == (OPEN, A, A, B, CLOSE, A, END)
    assert (found.stop_cause, found.thinking_tokens, found.finish_reason) == ("natural", 3, "stop")


def test_reopened_blocks_share_the_budget() -> None:
    found = play(request(budget=3), [OPEN, A, A, CLOSE, B, OPEN, A, A, A, B])
    assert found.token_ids[: 7 + len(STOP)] == (OPEN, A, A, CLOSE, B, OPEN, A, *STOP)
    assert found.thinking_tokens == 3


def test_no_block_opens_once_the_budget_is_spent() -> None:
    found = play(request(budget=2), [OPEN, A, A, CLOSE, B, OPEN, B, END])
    assert found.token_ids == (OPEN, A, A, CLOSE, B, A, B, END)


def test_the_answer_has_its_room() -> None:
    limit = 60 - 1 - len(STOP) - 20
    found = play(request(max_tokens=60, answer_tokens=20), [OPEN, *[A] * 100])
    assert found.thinking_tokens == limit
    assert found.stop_cause == "budget"
    within = play(request(max_tokens=60, answer_tokens=20), [OPEN, *[A] * limit, CLOSE, B])
    assert within.stop_cause == "natural"


def test_without_room_for_the_stop_text_a_reply_ends_by_length() -> None:
    found = play(request(max_tokens=10, budget=8), [OPEN, *[A] * 20])
    assert (found.finish_reason, found.stop_cause) == ("length", "length")
    assert not any(found.inserted)


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"budget": 0}, "budget: 0"),
        ({"max_tokens": 30, "answer_tokens": 16}, "max_tokens: 30"),
        ({"prompt_ids": (A,) * CONTEXT}, "prompt_ids: 2048"),
    ],
)
def test_limits_without_room_are_named(members: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Reply(request(**members), FORM, context=CONTEXT, version=0)


scripts = st.lists(st.sampled_from([A, A, B, A, B, OPEN, CLOSE]), max_size=60).map(lambda s: [OPEN, *s])
limits = st.one_of(st.none(), st.integers(1, 40))


@given(scripts, limits, st.integers(1, 7), st.integers(40, 120))
def test_how_tokens_arrive_changes_nothing(
    script: list[int], budget: int | None, chunk: int, most: int
) -> None:
    asked = request(budget=budget, max_tokens=most)
    found = play(asked, script)
    assert play(asked, script, chunk=chunk) == found
    assert len(found.token_ids) <= most
    assert budget is None or found.thinking_tokens <= budget
    runs = sum(found.inserted) / len(STOP)
    assert runs == int(runs) <= 1


@given(scripts, limits, st.integers(1, 30))
def test_a_reply_in_parts_is_the_unbroken_one(script: list[int], budget: int | None, per_call: int) -> None:
    asked = request(budget=budget, answer_tokens=8)
    found = play(asked, script, per_call=per_call)
    while found.finish_reason == "unfinished":
        found = play(replace(asked, begun=found), script, per_call=per_call)
    assert replace(found, request=asked) == play(asked, script)


def test_text_of_a_rollout() -> None:
    thinking, answer = TOKENIZER.encode("\n1+1=2\n"), TOKENIZER.encode("\n\nThe answer is 2.")
    problem = Problem(id="p", problem="1+1", answer="2")
    found = play(request(), [OPEN, *thinking, CLOSE, *answer, END])
    completion = to_completion(found, problem, True, TOKENIZER, FORM)
    assert completion.thinking == "1+1=2"
    assert completion.answer == "\n\nThe answer is 2."
    assert completion.reply == f"{FORM.open}\n1+1=2\n{FORM.close}\n\nThe answer is 2."
    assert completion.tokens == len(found.token_ids)
    cut = to_completion(play(request(budget=2), [OPEN, A, A, B]), problem, True, TOKENIZER, FORM)
    assert (cut.thinking_tokens, cut.tokens, cut.answer) == (2, 5, "\n\nb")
    assert FORM.stop_text.partition(FORM.close)[0].strip() in (cut.thinking or "")
    unopened = to_completion(play(request(), [*answer, END]), problem, False, TOKENIZER, FORM)
    assert unopened.thinking is None
    assert unopened.answer == "\n\nThe answer is 2."


@pytest.mark.parametrize("was_cut", [True, False])
def test_a_stop_text_that_begins_with_the_close_tag_is_told_from_the_models_own(
    tmp_path: Path, was_cut: bool
) -> None:
    """The server writes the same tokens in both cases, and says in which it inserted them."""
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(DEFAULT_MODEL, checkpoint)
    members = json.loads((checkpoint / FORMAT_FILE).read_text("utf-8")) | {"stop_text": "</think>\n\n"}
    (checkpoint / FORMAT_FILE).write_text(json.dumps(members), "utf-8")
    backend = ServersBackend(["http://127.0.0.1:1"], checkpoint, tmp_path)
    stop = backend.form.stop_ids
    assert stop[0] == CLOSE
    reply = Reply(request(budget=3), backend.form, context=CONTEXT, version=0)
    ids = [OPEN, A, A, B, *stop, A, END]
    backend._take(reply, ids, [-0.5] * len(ids), "stop", was_cut)
    found = reply.rollout()
    assert found.token_ids == tuple(ids)
    assert found.inserted == (*[False] * 4, *[was_cut] * len(stop), False, False)
    assert found.stop_cause == ("budget" if was_cut else "natural")
    assert found.logprobs[4] == (0.0 if was_cut else -0.5)
