"""`thinking.entropy`: what is told is the softmax of the model, whatever segments a reply is made of."""

import asyncio
import json
import math
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel
from vllm.config import ModelConfig
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.outputs import LogprobsLists

from serve import DEFAULT_MODEL, measured
from serve.entropy import Measured, measure
from serve.launch import start_server
from serve.profile import PROFILE
from tests.serve.conftest import Answer, Choice, Server
from tests.serve.routes import APIS, EVERY_PARSED_WAY, EVERY_WAY, Json, sse
from tests.serve.test_trace import FORM

ASK = {"thinking": {"entropy": True}}
WITHIN = 2e-3
"""Nats that batching may change."""


def told(payloads: list[Json]) -> dict[str, list[Any]]:
    """The columns that the events of a choice told, joined; its report is not among them."""
    columns: dict[str, list[Any]] = {"tokens": [], "entropy": [], "margin": []}
    for payload in payloads:
        for holder in (payload, *payload.get("choices", ())):
            thinking = holder.get("thinking") or {}
            if "stop_cause" not in thinking and "entropy" in thinking:
                assert set(thinking["entropy"]) == set(columns)
                for name, column in columns.items():
                    column += thinking["entropy"][name]
    return columns


def check(report: Json) -> Json:
    """What holds of every exact report; returns its entropy."""
    entropy: Json = report["entropy"]
    assert entropy["exact"] is True
    assert entropy["residual"] is entropy["upper"] is None
    assert entropy["tokens"] == report["tokens"]
    assert len(entropy["values"]) == len(entropy["margin"]) == report["tokens"] + report["inserted_tokens"]
    assert entropy["values"].count(None) == entropy["margin"].count(None) == report["inserted_tokens"]
    most = math.log(len(FORM.tokenizer))
    assert all(0 <= value <= most for value in entropy["values"] if value is not None)
    assert all(0 <= margin <= 1 for margin in entropy["margin"] if margin is not None)
    return entropy


# -- on every route ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "stream"), EVERY_WAY)
async def test_it_is_told_everywhere(ask: Server, questions: list[str], name: str, stream: bool) -> None:
    """In the report of every route, and with the events of its streams; the reply is the same without."""
    api, limit = APIS[name], {"thinking_budget": 5}
    plain = api.reply(await ask.post(api.path, api.body(questions[0], stream, **limit)))
    reply = api.reply(await ask.post(api.path, api.body(questions[0], stream, **limit, **ASK)))
    assert (reply.thought, reply.answer) == (plain.thought, plain.answer)
    assert "entropy" not in plain.report
    entropy = check(reply.report)
    assert reply.report["tokens"] == 5
    shown = "".join(entropy["texts"])
    assert reply.thought.strip() in shown
    if stream:
        assert told(reply.events) == {
            "tokens": entropy["texts"],
            "entropy": entropy["values"],
            "margin": entropy["margin"],
        }


@pytest.mark.parametrize(("name", "stream"), EVERY_PARSED_WAY)
async def test_hidden_thinking_tells_no_text(
    ask: Server, questions: list[str], name: str, stream: bool
) -> None:
    """Not while it streams either; the numbers are in the report."""
    api = APIS[name]
    asked = {"thinking": {"entropy": True, "budget": 5, **api.hide.get("thinking", {})}}
    body = {**api.body(questions[0], stream), **api.hide, **asked}
    reply = api.reply(await ask.post(api.path, body))
    assert reply.thought == ""
    assert check(reply.report)["texts"] is None
    assert told(reply.events)["tokens"] == []


# -- the numbers ---------------------------------------------------------------------------------------------


def softmax_of(model: PreTrainedModel, answer: Answer, choice: Choice) -> torch.Tensor:
    """The distributions [thinking tokens, vocabulary] that a reply's thinking was drawn from."""
    prompt, reply = answer.prompt_token_ids, choice.token_ids
    assert reply[0] == FORM.open_id
    with torch.no_grad():
        logits = model(torch.tensor([prompt + reply])).logits[0]
    return torch.softmax(logits[len(prompt) :].double(), dim=-1)[: len(choice.thinking["entropy"]["values"])]


def entropy_of(p: torch.Tensor) -> list[float]:
    return (-torch.special.xlogy(p, p).sum(dim=-1)).tolist()


def margin_of(p: torch.Tensor) -> list[float]:
    top = torch.topk(p, 2, dim=-1).values
    return (top[:, 0] - top[:, 1]).tolist()


LIMITS: list[Json] = [{}, {"budget": 9}, {"budget": 24, "soft": 12}, {"min_tokens": 40, "wait_text": " so"}]
"""Thinking that is one vLLM request, and thinking of several."""


async def ask_each(ask: Server, questions: list[str], **body: Any) -> list[Answer]:
    """Two choices under each of the limits; texts are checked against token ids."""
    answers = await asyncio.gather(
        *(
            ask.chat(text, n=2, seed=3, temperature=1.0, thinking={"entropy": True, **limit}, **body)
            for text, limit in zip(questions, LIMITS, strict=False)
        )
    )
    for answer in answers:
        for choice in answer.choices:
            texts = choice.thinking["entropy"]["texts"]
            assert texts == [FORM.tokenizer.decode([i]) for i in choice.token_ids[1 : 1 + len(texts)]]
    return answers


@pytest.mark.parametrize("stream", [False, True])
async def test_it_is_the_entropy_of_the_softmax(ask: Server, questions: list[str], stream: bool) -> None:
    """Of the model's own distribution, whatever the temperature, as transformers computes it in the same
    precision: that of a served float32 model is vLLM's choice, bfloat16."""
    model = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL, dtype=torch.bfloat16)
    answers = await ask_each(ask, questions, stream=stream)
    off: list[float] = []
    for answer in answers:
        for choice in answer.choices:
            entropy, p = check(choice.thinking), softmax_of(model, answer, choice)
            for column, truth in (("values", entropy_of(p)), ("margin", margin_of(p))):
                off += [abs(a - b) for a, b in zip(entropy[column], truth, strict=True) if a is not None]
    assert len(off) > 200
    assert np.mean(off) < 5e-3
    assert max(off) < 0.1
    assert {choice.thinking["stop_cause"] for answer in answers for choice in answer.choices} >= {
        "natural",
        "budget",
    }
    assert any(choice.thinking["waits"] for choice in answers[3].choices)


async def test_it_agrees_with_the_log_probabilities_of_the_same_reply(
    ask: Server, questions: list[str]
) -> None:
    """Of one forward pass, the twenty most likely tokens leave little room for it."""
    body: Json = {"messages": [{"role": "user", "content": questions[0]}], "temperature": 1, "seed": 2}
    body |= {"max_tokens": 100, "logprobs": True, "top_logprobs": 20, **ASK}
    (choice,) = (await ask.post("/v1/chat/completions", body)).json()["choices"]
    values = check(choice["thinking"])["values"]
    entries = choice["logprobs"]["content"][1 : 1 + len(values)]
    for value, entry in zip(values, entries, strict=True):
        top = sorted((it["logprob"] for it in entry["top_logprobs"]), reverse=True)
        (bounds,) = measure(np.array([top]), len(FORM.tokenizer))
        assert bounds.entropy - 1e-4 <= value <= bounds.upper + 1e-4


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model with a vocabulary that is too large to look at as a whole."""
    folder = tmp_path_factory.mktemp("large") / "model"
    shutil.copytree(DEFAULT_MODEL, folder, ignore=shutil.ignore_patterns(PROFILE))
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    rows = weights["model.embed_tokens.weight"]
    more = torch.randn(2 * measured.WHOLE, rows.shape[1], generator=torch.Generator().manual_seed(0))
    weights["model.embed_tokens.weight"] = torch.cat([rows, more * rows.float().std() / 2]).to(rows.dtype)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config["vocab_size"] = len(weights["model.embed_tokens.weight"])
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.slow
async def test_bounds_of_a_large_vocabulary(large: Path, questions: list[str], tmp_path: Path) -> None:
    """In float32 they hold the entropy that transformers computes, and the residual is what is left out."""
    model = AutoModelForCausalLM.from_pretrained(large, dtype=torch.float32)
    flags = ("--dtype", "float32", "--served-model-name", "large")
    with start_server(str(large), args=flags, log_path=tmp_path / "log") as running:
        async with httpx.AsyncClient(base_url=running.base_url, timeout=300) as http:
            form = (await http.get("/v1/thinking/format")).json()
            answers = await ask_each(Server(running, http, form), questions)
            body: Json = {"messages": [{"role": "user", "content": questions[0]}], "max_tokens": 64}
            response = await http.post("/v1/chat/completions", json={**body, "stream": True, **ASK})
    compared = 0
    for answer in answers:
        for choice in answer.choices:
            entropy, p = choice.thinking["entropy"], softmax_of(model, answer, choice)
            assert entropy["exact"] is False
            listed = torch.topk(p, 20, dim=-1).values.sum(dim=-1).tolist()
            columns = [entropy[name] for name in ("values", "upper", "margin", "residual")]
            for low, high, margin, rest, truth, gap, sum_ in zip(
                *columns, entropy_of(p), margin_of(p), listed, strict=True
            ):
                if low is None:
                    assert high is margin is rest is None
                    continue
                assert low - WITHIN <= truth <= high + WITHIN
                assert margin == pytest.approx(gap, abs=WITHIN)
                assert rest == pytest.approx(1 - sum_, abs=WITHIN)
                compared += rest > 1e-3
    assert compared > 10
    payloads = sse(response.text)
    upper = [
        value
        for payload in payloads
        for choice in payload["choices"]
        if "stop_cause" not in (thinking := choice.get("thinking") or {})
        for value in thinking.get("entropy", {"upper": []})["upper"]
    ]
    report = next(c["thinking"] for p in payloads for c in p["choices"] if c["finish_reason"])
    assert upper == report["entropy"]["upper"]


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1, "seed": 5, "n": 3}])
@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_and_log_probabilities_are_those_without(
    ask: Server, questions: list[str], sampling: Json, stream: bool
) -> None:
    """Asked for or not, with a budget and without: as many alternatives as asked, and none if none."""

    async def rest(budget: int, **more: Any) -> list[Any]:
        body = {"messages": [{"role": "user", "content": questions[0]}], "max_tokens": 100, **sampling}
        body |= {"stream": stream, "return_token_ids": True, "thinking_budget": budget, **more}
        response = await ask.post("/v1/chat/completions", body)
        assert response.status_code == 200, response.text
        found: dict[int, list[Any]] = {}
        for payload in sse(response.text) if stream else [response.json()]:
            for choice in payload["choices"]:
                ids, entries = found.setdefault(choice["index"], [[], []])
                ids += choice.get("token_ids") or []
                entries += (choice.get("logprobs") or {}).get("content") or []
        return sorted(found.items())

    for budget in (8, -1):
        for wanted in ({}, {"logprobs": True, "top_logprobs": 3}):
            plain, with_entropy = await rest(budget, **wanted), await rest(budget, **wanted, **ASK)
            for (_, (ids, entries)), (_, (same_ids, same)) in zip(plain, with_entropy, strict=True):
                assert same_ids == ids
                assert len(same) == len(entries) == (len(ids) if wanted else 0)
                for ours, theirs in zip(same, entries, strict=True):
                    assert ours["token"] == theirs["token"]
                    assert ours["logprob"] == pytest.approx(theirs["logprob"], abs=WITHIN)
                    assert len(ours["top_logprobs"]) == len(theirs["top_logprobs"])


async def test_a_stopped_reply_has_every_token(ask: Server, questions: list[str]) -> None:
    """An unlimited request that is interrupted goes on as another: nothing is lost or told twice."""
    body = {
        "messages": [{"role": "user", "content": questions[0]}],
        "max_tokens": 900,
        "temperature": 0,
        "logit_bias": {str(ask.close_id): -100, str(FORM.tokenizer.eos_token_id): -100},
        "structured_outputs": {"regex": r"The answer is \\boxed\{[0-9]\}"},
        "stream": True,
        **ASK,
    }
    text = ""
    async with ask.http.stream("POST", "/v1/chat/completions", json=body) as response:
        stop = f"/v1/thinking/{response.headers['x-thinking-id']}/stop"
        async for line in response.aiter_lines():
            text += line + "\n"
            if line.count('"tokens":') and text.count('"tokens":') == 20:
                assert (await ask.post(stop, {})).json()["stopping"] == 1
    payloads = sse(text)
    report = payloads[-1]["choices"][0]["thinking"]
    assert report["stop_cause"] == "client"
    assert check(report)["tokens"] >= 20
    assert told(payloads)["entropy"] == report["entropy"]["values"]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"thinking": {"entropy": "yes"}}, "thinking.entropy"),
        ({**ASK, "use_beam_search": True}, "use_beam_search"),
        ({**ASK, "logprobs": True, "top_logprobs": 21}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "logprobs"),
    ],
)
async def test_what_is_refused(ask: Server, more: Json, param: str) -> None:
    """The server's limit on log-probabilities holds for callers, though entropy looks at more."""
    response = await ask.post(
        "/v1/chat/completions", {"messages": [{"role": "user", "content": "1"}], "max_tokens": 8, **more}
    )
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


# -- without a server ----------------------------------------------------------------------------------------


@given(st.lists(st.floats(-30, 30), min_size=3, max_size=40), st.data())
def test_bounds_hold_the_entropy(logits: list[float], data: st.DataObject) -> None:
    """However many of the most likely tokens are looked at; of all of them it is the entropy itself."""
    log_p = np.array(logits) - np.logaddexp.reduce(logits)
    log_p = -np.sort(-log_p)
    looked_at = data.draw(st.integers(2, len(log_p)))
    p = np.exp(log_p)
    truth = float(-(p * log_p).sum())
    (found,) = measure(log_p[None, :looked_at], len(log_p))
    assert found.entropy - 1e-9 <= truth <= found.upper + 1e-9
    assert found.margin == pytest.approx(p[0] - p[1])
    assert found.residual == pytest.approx(p[looked_at:].sum(), abs=1e-9)
    if looked_at == len(log_p):
        assert found.entropy == found.upper == pytest.approx(truth, abs=1e-9)


def test_impossible_tokens_leave_nothing_open() -> None:
    """After top-p vLLM's processed log-probabilities are minus infinity."""
    log_p = np.array([[math.log(0.75), math.log(0.25), -np.inf]], dtype=np.float32)
    (found,) = measure(log_p, 1000)
    assert found.residual == 0
    assert found.entropy == found.upper == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    return ModelConfig(str(DEFAULT_MODEL))


@pytest.mark.parametrize("asked", [None, 0, 3])
def test_callers_see_what_they_asked(config: ModelConfig, asked: int | None) -> None:
    """Of a vocabulary that is too large to look at as a whole, and of a batch where others asked for more."""
    vocabulary = len(FORM.tokenizer)
    params = SamplingParams(logprobs=asked, extra_args={"other": 1})
    wanted = measured.with_measures(params, config)
    assert (params.logprobs, params.extra_args) == (asked, {"other": 1})
    assert wanted.logprobs == config.get_vocab_size() <= measured.WHOLE
    wanted.extra_args = {measured.MEASURED_ARG: [asked, 20, vocabulary]}
    request = EngineCoreRequest("r", [1], None, wanted, None, 0.0, None, None, None)
    processor = measured.MeasuringProcessor.from_new_request(FORM.tokenizer, request)
    draw = np.random.default_rng(0)
    log_p = np.log(draw.dirichlet(np.full(vocabulary, 0.1), size=2))
    order = np.argsort(-log_p, axis=1)[:, :30]
    sampled = order[:, 7:8]
    ids = np.hstack([sampled, order])
    columns = np.take_along_axis(log_p, ids, axis=1).astype(np.float32)
    processor._update_sample_logprobs(LogprobsLists(ids, columns, np.array([8, 8]), None))
    assert isinstance(processor.logprobs, list)
    for row, entry in enumerate(processor.logprobs):
        assert isinstance(entry, Measured)
        assert list(entry) == [sampled[row, 0], *order[row, : asked or 0]]
        truth = float(-(np.exp(log_p[row]) * log_p[row]).sum())
        assert entry.measure.residual > 0
        assert entry.measure.entropy < truth < entry.measure.upper


def test_other_requests_get_their_own_columns() -> None:
    """vLLM sends as many as any request of the batch asked; unpacking them all would slow the others."""
    request = EngineCoreRequest("r", [1], None, SamplingParams(logprobs=1), None, 0.0, None, None, None)
    processor = measured.MeasuringProcessor.from_new_request(FORM.tokenizer, request)
    ids = np.arange(500).reshape(1, -1)
    processor._update_sample_logprobs(
        LogprobsLists(ids, np.full((1, 500), -1.0, dtype=np.float32), np.array([1]), None)
    )
    assert [list(entry) for entry in processor.logprobs or []] == [[0, 1]]


def test_what_cannot_be_measured(config: ModelConfig) -> None:
    logits = ModelConfig(str(DEFAULT_MODEL), logprobs_mode="raw_logits")
    chosen = SamplingParams(logprob_token_ids=[1, 2])
    measured.check_measurable(SamplingParams(), config)
    for params, where, said in [(SamplingParams(), logits, "raw_logits"), (chosen, config, "logprob_token")]:
        with pytest.raises(VLLMValidationError, match=said) as error:
            measured.check_measurable(params, where)
        assert error.value.parameter == "thinking.entropy"
