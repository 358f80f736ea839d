"""One policy, three backends: the engine in process, the server, and transformers give the same replies."""

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from evals.problems import load
from serve import DEFAULT_MODEL
from serve.launch import RunningServer, start_server
from trainer.rollouts import servers
from trainer.rollouts.engine import EngineBackend
from trainer.rollouts.probe import model_logprobs
from trainer.rollouts.servers import ServersBackend
from trainer.rollouts.transformers_backend import TransformersBackend
from trainer.rollouts.types import Rollout, RolloutBackend, RolloutRequest, Sampling, SyncError

pytestmark = pytest.mark.slow

GREEDY = Sampling(temperature=0.0)
BUDGETS = (1, 2, 7, 12, 20, 33, None)
MAX_TOKENS = 160


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineBackend]:
    backend = EngineBackend(DEFAULT_MODEL, kv_cache_gib=0.1, max_rows=64)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def reference() -> TransformersBackend:
    return TransformersBackend(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def updatable(weights_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose weights may be replaced, for keys that say so."""
    keys = tmp_path_factory.mktemp("keys") / "keys.toml"
    keys.write_text(
        '[[keys]]\nname = "trainer"\nkey = "sk-trainer"\nmay_update_weights = true\n'
        '[[keys]]\nname = "reader"\nkey = "sk-reader"\n'
    )
    arguments = ["--dtype", "float32", "--weight-updates", str(weights_folder), "--api-key-file", str(keys)]
    with start_server(args=arguments, api_key="sk-trainer") as running:
        yield running


@pytest.fixture
def remote(updatable: RunningServer, weights_folder: Path, monkeypatch: pytest.MonkeyPatch) -> ServersBackend:
    monkeypatch.setenv(servers.KEY_VARIABLE, "sk-trainer")
    return ServersBackend([updatable.base_url], DEFAULT_MODEL, weights_folder)


@pytest.fixture
def model() -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL)


def requests(*, thinks: bool = True, budgets: tuple[int | None, ...] = BUDGETS) -> list[RolloutRequest]:
    tokenizer = AutoTokenizer.from_pretrained(DEFAULT_MODEL)
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": problem.problem}],
            add_generation_prompt=True,
            enable_thinking=thinks,
            return_dict=False,
        )
        for problem in load("thinkmath", limit=4)
    ]
    return [
        RolloutRequest(tuple(prompt), MAX_TOKENS, seed=7 * index, budget=budget, answer_tokens=16)
        for budget in budgets
        for index, prompt in enumerate(prompts)
    ]


def outcome(rollout: Rollout) -> tuple[object, ...]:
    return (
        rollout.token_ids,
        rollout.inserted,
        rollout.thinking_tokens,
        rollout.stop_cause,
        rollout.finish_reason,
    )


def assert_same(ours: list[Rollout], theirs: list[Rollout]) -> None:
    assert [outcome(rollout) for rollout in ours] == [outcome(rollout) for rollout in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def perturb(model: PreTrainedModel, seed: int, share: float = 0.02) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += share * parameter.std() * torch.randn(parameter.shape, generator=generator)


def test_engine_cuts_as_transformers_at_every_budget(
    engine: EngineBackend, reference: TransformersBackend
) -> None:
    asked = [*requests(), *requests(thinks=False, budgets=(None,))]
    found = engine.generate(asked, GREEDY)
    assert_same(found, reference.generate(asked, GREEDY))
    assert {rollout.stop_cause for rollout in found} == {"natural", "budget", "disabled"}


def test_engine_cuts_as_the_server_at_every_budget(engine: EngineBackend, remote: ServersBackend) -> None:
    asked = [*requests(), *requests(thinks=False, budgets=(None,))]
    assert_same(engine.generate(asked, GREEDY), remote.generate(asked, GREEDY))


def test_budget_of_the_natural_length_is_natural(engine: EngineBackend) -> None:
    free = engine.generate(requests(budgets=(None,)), GREEDY)
    assert all(rollout.stop_cause == "natural" for rollout in free)
    exact = [
        RolloutRequest(rollout.request.prompt_ids, MAX_TOKENS, 0, budget=rollout.thinking_tokens)
        for rollout in free
    ]
    assert [r.token_ids for r in engine.generate(exact, GREEDY)] == [r.token_ids for r in free]
    short = [
        RolloutRequest(rollout.request.prompt_ids, MAX_TOKENS, 0, budget=rollout.thinking_tokens - 1)
        for rollout in free
    ]
    assert {rollout.stop_cause for rollout in engine.generate(short, GREEDY)} == {"budget"}


@pytest.mark.parametrize("tokens_per_call", [1, 9])
def test_partial_rollouts_end_as_unbroken_ones(
    engine: EngineBackend, reference: TransformersBackend, remote: ServersBackend, tokens_per_call: int
) -> None:
    asked = requests(budgets=(5, 12, None))
    backends: list[RolloutBackend] = [engine, reference]
    if tokens_per_call > 1:
        backends.append(remote)
    whole = engine.generate(asked, GREEDY)
    for backend in backends:
        parts, calls = in_parts(backend, asked, tokens_per_call)
        assert_same(parts, whole)
        assert calls >= max(len(r.token_ids) - sum(r.inserted) for r in whole) / tokens_per_call


def in_parts(
    backend: RolloutBackend, asked: list[RolloutRequest], tokens_per_call: int
) -> tuple[list[Rollout], int]:
    done: dict[int, Rollout] = {}
    waiting = dict(enumerate(asked))
    calls = 0
    while waiting:
        calls += 1
        replies = backend.generate(list(waiting.values()), GREEDY, tokens_per_call)
        for index, reply in zip(list(waiting), replies, strict=True):
            if reply.finish_reason == "unfinished":
                waiting[index] = replace(asked[index], begun=reply)
            else:
                done[index] = reply
                del waiting[index]
    return [done[index] for index in range(len(asked))], calls


def test_seeds_repeat_and_differ(engine: EngineBackend) -> None:
    asked = requests(budgets=(12, None)) * 2
    sampling = Sampling(temperature=1.0, top_p=0.95)
    first = engine.generate(asked, sampling)
    half = len(asked) // 2
    assert [r.token_ids for r in first[:half]] == [r.token_ids for r in first[half:]]
    alone = engine.generate(asked[:3], sampling)
    assert [r.token_ids for r in alone] == [r.token_ids for r in first[:3]]
    others = [replace(one, budget=None, seed=seed) for one in asked[:4] for seed in range(8)]
    assert len({r.token_ids for r in engine.generate(others, Sampling(temperature=2.0))}) > 4


def test_server_samples_what_the_engine_samples(engine: EngineBackend, remote: ServersBackend) -> None:
    asked = requests(budgets=(12, None))
    sampling = Sampling(temperature=1.0, top_p=0.9)
    assert_same(engine.generate(asked, sampling), remote.generate(asked, sampling))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_are_those_of_a_forward_pass(
    engine: EngineBackend, reference: TransformersBackend, model: PreTrainedModel, temperature: float
) -> None:
    asked = requests(budgets=(12, None))
    for backend in (engine, reference):
        for rollout in backend.generate(asked, Sampling(temperature)):
            prompt = rollout.request.prompt_ids
            table = model_logprobs(model, [*prompt, *rollout.token_ids])[len(prompt) - 1 : -1]
            scaled = (table / temperature).log_softmax(-1)
            for position, token in enumerate(rollout.token_ids):
                expected = 0.0 if rollout.inserted[position] else float(scaled[position, token])
                assert math.isclose(rollout.logprobs[position], expected, abs_tol=2e-4)


def test_sync_takes_over_all_weights(
    engine: EngineBackend, reference: TransformersBackend, remote: ServersBackend, model: PreTrainedModel
) -> None:
    asked = requests(budgets=(12, None))
    before = engine.generate(asked, GREEDY)
    perturb(model, seed=1, share=0.2)
    for backend in (engine, reference, remote):
        report = backend.sync(model, version=5)
        assert report.probe_max < 1e-3
        assert report.version == 5
    found = engine.generate(asked, GREEDY)
    assert_same(found, reference.generate(asked, GREEDY))
    assert_same(found, remote.generate(asked, GREEDY))
    assert [r.token_ids for r in found] != [r.token_ids for r in before]
    assert {version for rollout in found for version in rollout.versions} == {5}


def test_several_servers_share_the_prompts_and_all_take_over_the_weights(
    reference: TransformersBackend,
    remote: ServersBackend,
    weights_folder: Path,
    model: PreTrainedModel,
) -> None:
    """One server under two names: each is asked, and each is sent the weights."""
    (url,) = remote.urls
    both = ServersBackend(
        [f"{url}/v1/", url.replace("127.0.0.1", "localhost")], DEFAULT_MODEL, weights_folder
    )
    asked = requests(budgets=(12, None))
    assert set(both._places(asked)) == set(both.urls)
    perturb(model, seed=5, share=0.2)
    for backend in (reference, both):
        assert backend.sync(model, version=5).probe_max < 1e-3
    assert_same(both.generate(asked, GREEDY), reference.generate(asked, GREEDY))


def test_weights_are_taken_over_from_trainers_and_their_folder_only(
    updatable: RunningServer, weights_folder: Path
) -> None:
    (weights_folder / "empty").mkdir()
    shutil.copytree(DEFAULT_MODEL, weights_folder / "whole")
    shutil.copytree(DEFAULT_MODEL, weights_folder.parent / "outside")

    def ask(key: str, path: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        body = {"path": path, "version": 1}
        return httpx.post(f"{updatable.base_url}/v1/weights", headers=headers, json=body, timeout=60)

    refused = ask("sk-reader", "whole")
    assert refused.status_code == 403
    assert "key 'reader' may not update weights" in refused.json()["error"]["message"]
    assert ask("sk-nobody", "whole").status_code == 401
    for wrong in ("none", "empty", "../outside", str(DEFAULT_MODEL)):
        answer = ask("sk-trainer", wrong)
        assert answer.status_code == 400, wrong
        assert f"path is {wrong!r}; it must be a folder with safetensors" in answer.json()["error"]["message"]
    assert ask("sk-trainer", "whole").json() == {"version": 1}


def test_sync_fails_where_the_packed_output_layer_is_left_stale(
    engine: EngineBackend, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    perturb(model, seed=2)
    with monkeypatch.context() as without:
        without.setattr("serve.weights.repack_embeddings", lambda model: None)
        with pytest.raises(SyncError, match=r"differ from the trainer's by up to [\d.]+ nats"):
            engine.sync(model, version=6)
    engine.sync(model, version=6)


def test_sync_fails_where_nothing_is_reloaded(
    engine: EngineBackend, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    perturb(model, seed=3)
    monkeypatch.setattr(engine._core, "collective_rpc", lambda *args, **kwargs: None)
    with pytest.raises(SyncError):
        engine.sync(model, version=7)


def test_without_a_reset_the_prefix_cache_is_stale_and_sync_fails(
    engine: EngineBackend, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    perturb(model, seed=4)
    with monkeypatch.context() as without:
        without.setattr(engine._core, "reset_prefix_cache", lambda: True)
        with pytest.raises(SyncError):
            engine.sync(model, version=8)
    engine.sync(model, version=8)


def test_engine_leaves_torch_to_the_trainer(engine: EngineBackend, model: PreTrainedModel) -> None:
    assert not torch.is_inference_mode_enabled()
    assert torch.get_default_dtype() == torch.float32
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    engine.generate(requests(budgets=(None,)), Sampling(1.0))
    engine.sync(model, version=9)
    assert torch.equal(torch.rand(3), expected)
    ids = torch.tensor([engine.probe])
    model(input_ids=ids, labels=ids).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
