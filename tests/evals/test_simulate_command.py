"""Sizes of models, the roofline, fitted prices, and the command that plans with them."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from evals.bench.simulated_run import Simulation, write_simulation
from evals.cli import main
from evals.simulate.hardware import GPUS, find_gpu
from evals.simulate.plan import cache_bytes
from evals.simulate.requests import Format
from evals.simulate.shape import ModelShape, read_shape
from evals.simulate.steps import LinearSteps, Measured, MeasuredSteps, Roofline
from evals.simulate.workload import run_format, run_lengths
from serve import DEFAULT_MODEL
from tests.evals.made_machine import PRICES

QWEN3_8B = {
    "num_hidden_layers": 36,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 12288,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}
QWEN3_30B_A3B = QWEN3_8B | {
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "num_key_value_heads": 4,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
}


def written(folder: Path, config: dict[str, object]) -> Path:
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


# -- sizes and prices ----------------------------------------------------------------------------------------


def test_sizes_of_models(tmp_path: Path) -> None:
    """Against what their cards say: 8.2 billion parameters; 30.5 billion, of which 3.3 are used."""
    dense = read_shape(written(tmp_path, QWEN3_8B))
    assert dense.kv_bytes_per_token == 2 * 36 * 8 * 128 * 2
    assert dense.parameters == pytest.approx(8.19e9, rel=0.01)
    assert read_shape(tmp_path, kv_dtype="float8_e4m3fn").kv_bytes_per_token == 2 * 36 * 8 * 128
    mixture = read_shape(written(tmp_path, QWEN3_30B_A3B))
    assert mixture.parameters == pytest.approx(30.5e9, rel=0.01)
    table = 151936 * 2048
    assert mixture.flops_per_token / 2 + table == pytest.approx(3.3e9, rel=0.03)
    one, many = mixture.read_bytes(1), mixture.read_bytes(4096)
    assert one == pytest.approx(mixture.flops_per_token / 2 * 2)
    assert many == pytest.approx((mixture.parameters - table) * 2)
    ours = read_shape(DEFAULT_MODEL)
    assert ours.total_bytes == pytest.approx((DEFAULT_MODEL / "model.safetensors").stat().st_size, rel=0.01)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_hidden_layers": None}, "num_hidden_layers: None is wrong"),
        ({"dtype": "int3"}, "dtype: 'int3' is wrong"),
        ({"kv_lora_rank": 512}, "kv_lora_rank: its cache"),
    ],
)
def test_configs_that_are_not_known(tmp_path: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_shape(written(tmp_path, QWEN3_8B | change))


def shape(tmp_path: Path) -> ModelShape:
    return read_shape(written(tmp_path, QWEN3_8B))


def test_the_roofline_has_two_sides(tmp_path: Path) -> None:
    model, gpu = shape(tmp_path), find_gpu("h100-80")
    best = Roofline(model, gpu, bandwidth_share=1.0, flops_share=1.0)
    alone = best.seconds(1, 0, 0, 0, 0)
    assert alone == pytest.approx(model.read_bytes(1) / 3.35e12)
    cached = best.seconds(1, 100_000, 0, 0, 0)
    assert cached - alone == pytest.approx(100_000 * 147456 / 3.35e12)
    prompt = best.seconds(0, 0, 8192, 1, 0)
    pairs = 8192**2 / 2 * model.flops_per_pair
    assert prompt == pytest.approx((model.flops_per_token * 8192 + pairs) / 989.5e12)
    assert Roofline(model, gpu, gpus=2).seconds(1, 0, 0, 0, 0) < Roofline(model, gpu).seconds(1, 0, 0, 0, 0)
    assert cache_bytes(model, gpu, 1, 0.9, 2e9) == pytest.approx(80e9 * 0.9 - 2e9 - model.total_bytes)
    with pytest.raises(ValueError, match=r"1 x L4 is wrong because 30\.5 GiB of weights leave no"):
        cache_bytes(read_shape(tmp_path, "float32"), GPUS["L4"], 1, 0.9, 2e9)
    with pytest.raises(ValueError, match="'P100' is not in the table; give one of A100-40"):
        find_gpu("P100")


def bursts(seed: int, noise: float) -> list[Measured]:
    draw = random.Random(seed)
    rows = []
    for size in (1, 4, 16, 64):
        for prompt, tokens, cut in ((40, 64, 0), (400, 64, 0), (400, 1, 0), (40, 4, 0), (40, 24, 1)):
            steps = tokens + draw.randint(0, 3)
            context = size * tokens * (prompt + tokens / 2)
            work = Measured(1.0, steps, size * tokens, context, size * prompt, size, size * cut)
            rows.append(replace(work, seconds=PRICES.of(work) * draw.uniform(1 - noise, 1 + noise)))
    return rows


def test_a_fit_finds_the_prices() -> None:
    exact = LinearSteps.fit(bursts(0, 0.0))
    for name in ("step", "token", "context", "prefill", "started", "resumed"):
        assert getattr(exact, name) == pytest.approx(getattr(PRICES, name), rel=1e-6)
    noisy = LinearSteps.fit(bursts(0, 0.1))
    for row in bursts(1, 0.0):
        assert noisy.of(row) == pytest.approx(row.seconds, rel=0.15)
    with pytest.raises(ValueError, match="5 measured stretches are wrong"):
        LinearSteps.fit(bursts(0, 0.0)[:5])


def test_step_times_are_stored(tmp_path: Path) -> None:
    stored = MeasuredSteps(tuple(bursts(0, 0.0)), {"block_size": 32, "kv_blocks": 100}, {"model": "m"})
    stored.write(tmp_path / "steps.json")
    assert MeasuredSteps.read(tmp_path / "steps.json") == stored
    (tmp_path / "steps.json").write_text('{"format": 1, "rows": [{"steps": 1}]}', "utf-8")
    with pytest.raises(ValueError, match=r"steps\.json: these are no measured step times"):
        MeasuredSteps.read(tmp_path / "steps.json")


# -- the command ---------------------------------------------------------------------------------------------


@dataclass
class Told:
    status: int
    out: str
    err: str


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    folder = written(tmp_path, QWEN3_8B)

    def run(*arguments: str) -> Told:
        asked = ["--rate", "4", "--requests", "200", *arguments]
        status = main(["simulate", "--model", str(folder), *asked])
        return Told(status, *capsys.readouterr())

    return run


THOUGHT = ("--thinking-tokens", "800,0.6", "--answer-tokens", "100")


def test_a_plan_on_the_command_line(command: Callable[..., Told], tmp_path: Path) -> None:
    profile = str(DEFAULT_MODEL / "thinking_profile.json")
    out = tmp_path / "plan.json"
    told = command(
        *("--gpu", "H100-80", "--budgets", "0,256,max", "--target", "20"),
        *(*THOUGHT, "--profile", profile, "--out", str(out)),
    )
    assert told.status == 0, told.err
    document = json.loads(out.read_text("utf-8"))
    assert [row["budget"] for row in document["rows"]] == [0, 256, "max"]
    assert document["limits"]["max_num_seqs"] == 1024
    assert document["shape"]["kv_bytes_per_token"] == 147456
    accuracies = [row["accuracy"] for row in document["rows"]]
    assert accuracies == sorted(accuracies)
    header, _, *lines = told.out.splitlines()
    assert header.split()[:2] == ["budget", "replicas"]
    assert [line.split()[0] for line in lines] == ["0", "256", "max"]


def test_a_plan_from_a_run_and_measured_steps(command: Callable[..., Told], tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_simulation(run, Simulation(problems=20, samples=2, logprobs=False, confidence=False))
    found = run_lengths(run)
    assert len(found) == 40
    assert {it.prompt for it in found} == {40}
    assert run_format(run) == Format(open_tokens=1, stop_tokens=3)
    steps = tmp_path / "steps.json"
    MeasuredSteps(tuple(bursts(0, 0.0)), {"block_size": 32, "kv_blocks": 500}, {}).write(steps)
    told = command("--steps", str(steps), "--run", str(run), "--budgets", "64,max", "--replicas", "3")
    assert told.status == 0, told.err
    assert [line.split()[1] for line in told.out.splitlines()[2:]] == ["3", "3"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gpu", "H100-80", "--budgets", "low", *THOUGHT), "budgets: 'low' is wrong"),
        (("--gpu", "H100-80", "--budgets", "max"), "thinking_tokens: none given"),
        (("--gpu", "H100-80", "--budgets", "max", "--thinking-tokens", "many"), "thinking_tokens: 'many'"),
        (("--gpu", "T4", "--budgets", "max", *THOUGHT), "gpu: 'T4' is not in the table"),
        (("--gpu", "L4", "--budgets", "max", *THOUGHT, "--dtype", "float32"), "leave no memory"),
        (("--gpu", "H100-80", "--budgets", "max", *THOUGHT, "--kv-gib", "0.1"), "kv_blocks: "),
        (("--gpu", "H100-80", "--budgets", "max", *THOUGHT, "--target", "-1"), "target: -1.0 is wrong"),
        (("--gpu", "L4", "--budgets", "max", *THOUGHT, "--flops-share", "2"), "flops_share: 2.0 is wrong"),
        (("--gpu", "L4", "--budgets", "max", *THOUGHT, "--gpus", "0"), "gpus: 0 is wrong"),
        (
            ("--steps", "s.json", "--budgets", "max", *THOUGHT, "--gpus", "2"),
            "gpus: 2 is wrong",
        ),
        (("--gpu", "L4", "--budgets", "max", "--run", "r", *THOUGHT), "thinking_tokens: 800,0.6 is wrong"),
        (
            ("--gpu", "L4", "--budgets", "max", *THOUGHT, "--kv-gib", "4", "--reserve-gib", "1"),
            "reserve_gib: 1.0 is wrong because the KV cache is known",
        ),
    ],
)
def test_wrong_plans_are_told(command: Callable[..., Told], arguments: tuple[str, ...], said: str) -> None:
    told = command(*arguments)
    assert told.status == 2
    assert said in told.err
    assert told.out == ""
