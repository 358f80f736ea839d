"""The simulator: conservation, one request by hand, order of loads, memory, prices, plans, the commands."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from evals.bench.simulated_run import Simulation, write_simulation
from evals.cli import main
from evals.simulate.engine import Engine
from evals.simulate.hardware import GPUS, find_gpu
from evals.simulate.plan import Load, Machine, cache_bytes, capacity, fewest, latency, plan, under
from evals.simulate.requests import Format, Limits, Outcome, Request
from evals.simulate.shape import ModelShape, read_shape
from evals.simulate.steps import LinearSteps, Measured, MeasuredSteps, Roofline
from evals.simulate.workload import Lengths, Lognormal, lognormal_lengths, run_format, run_lengths
from serve import DEFAULT_MODEL

PRICES = LinearSteps(step=0.01, token=0.001, context=1e-6, prefill=1e-4, started=0.02, resumed=0.005)
ROOMY = Limits(max_num_seqs=64, max_batched_tokens=512, kv_blocks=4096, block_size=16)
TIGHT = Limits(max_num_seqs=16, max_batched_tokens=128, kv_blocks=40, block_size=16)
FORM = Format(open_tokens=1, close_tokens=1, stop_tokens=27, empty_tokens=4)
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


def mixed(count: int, rate: float, seed: int) -> list[Request]:
    draw = random.Random(seed)
    now, made = 0.0, []
    for _ in range(count):
        now += draw.expovariate(rate)
        lengths = draw.randint(1, 200), draw.randint(0, 200), draw.randint(1, 40)
        made.append(Request(now, *lengths, draw.choice([0, 8, 64, None])))
    return made


def written(folder: Path, config: dict[str, object]) -> Path:
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


# -- the engine ----------------------------------------------------------------------------------------------


def test_one_request_alone_is_the_sum_of_its_steps() -> None:
    request = Request(3.0, prompt=600, thinking=10, answer=5)
    outcome = Engine(ROOMY, PRICES, FORM).run([request])
    first = PRICES.seconds(0, 0, 512, 0, 0) + PRICES.seconds(0, 0, 88, 1, 0)
    # 1 open + 10 + 1 close + 5; the first token comes with the prompt, and is then the context's last.
    rest = sum(PRICES.seconds(1, 600 + i, 0, 0, 0) for i in range(16))
    assert request.first_token == pytest.approx(3.0 + first)
    assert request.ended == pytest.approx(3.0 + first + rest)
    assert (outcome.made, outcome.computed, outcome.steps) == (17, 600, 18)
    assert outcome.peak_blocks == math.ceil(616 / 16)


def test_a_cut_costs_a_look_past_the_budget_and_the_text_in_a_cached_prefix() -> None:
    request = Request(0.0, prompt=30, thinking=100, answer=5, budget=20)
    outcome = Engine(ROOMY, PRICES, FORM).run([request])
    thinking = PRICES.seconds(0, 0, 30, 1, 0) + sum(PRICES.seconds(1, 30 + i, 0, 0, 0) for i in range(21))
    # 51 tokens are cached, 48 of them in whole blocks.
    answer = PRICES.seconds(0, 0, 3 + 27, 1, 1) + sum(PRICES.seconds(1, 78 + i, 0, 0, 0) for i in range(4))
    assert request.ended == pytest.approx(thinking + answer)
    assert (outcome.made, outcome.streamed) == (1 + 20 + 1 + 5, 1 + 20 + 27 + 5)
    equal = Request(0.0, prompt=30, thinking=20, answer=5, budget=20)
    assert not equal.cut
    assert Engine(ROOMY, PRICES, FORM).run([equal]).computed == 30
    off = Engine(ROOMY, PRICES, FORM).run([Request(0.0, 30, 100, 5, budget=0)])
    assert (off.made, off.computed) == (5, 34)


@pytest.mark.parametrize("limits", [ROOMY, TIGHT, replace(TIGHT, block_size=1, kv_blocks=640)])
@pytest.mark.parametrize("seed", range(4))
def test_all_end_tokens_add_up_and_the_cache_is_never_overfull(limits: Limits, seed: int) -> None:
    requests = mixed(150, rate=8.0, seed=seed)
    engine = Engine(limits, PRICES, FORM)
    outcome = engine.run(requests)
    expected = 0
    for request in requests:
        assert request.arrived < request.first_token <= request.ended
        if request.budget == 0:
            tokens = request.answer
        elif request.cut:
            tokens = 1 + request.tokens + 1 + request.answer
        else:
            tokens = 1 + request.thinking + 1 + request.answer
        assert request.made == tokens
        expected += tokens
    assert outcome.made == expected
    assert 0 < outcome.peak_blocks <= limits.kv_blocks
    assert (engine._blocks, engine._context, sum(engine._growing)) == (0, 0, 0)
    assert outcome.computed >= sum(request.prompt for request in requests)
    assert (outcome.restarts > 0) == (limits is not ROOMY)
    assert outcome.mean_running <= limits.max_num_seqs


class OneByOne(Engine):
    """Every step for itself."""

    def _unchanged(self, gap: float) -> int:
        return 1


@pytest.mark.parametrize("limits", [ROOMY, TIGHT])
def test_a_stretch_of_steps_is_its_steps(limits: Limits) -> None:
    fast, slow = mixed(120, 4.0, seed=5), mixed(120, 4.0, seed=5)
    one, other = Engine(limits, PRICES, FORM).run(fast), OneByOne(limits, PRICES, FORM).run(slow)
    assert [it.ended for it in fast] == pytest.approx([it.ended for it in slow])
    assert (one.steps, one.peak_blocks, one.restarts) == (other.steps, other.peak_blocks, other.restarts)
    assert one.mean_running == pytest.approx(other.mean_running)


def test_the_same_requests_have_the_same_fate() -> None:
    one, other = mixed(100, 5.0, seed=1), mixed(100, 5.0, seed=1)
    Engine(TIGHT, PRICES, FORM).run(one)
    Engine(TIGHT, PRICES, FORM).run(other)
    assert [it.ended for it in one] == [it.ended for it in other]


def test_what_no_cache_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="kv_blocks: 40 blocks of 16 tokens are wrong because one request"):
        Engine(TIGHT, PRICES, FORM).run([Request(0.0, 100, 5000, 10)])


def test_requests_in_flight_are_kept_at_their_number() -> None:
    requests = [Request(0.0, 16, 20, 8) for _ in range(40)]
    Engine(ROOMY, PRICES, FORM).run(requests, in_flight=4)
    for moment in sorted(request.arrived for request in requests):
        assert sum(it.arrived <= moment < it.ended for it in requests) <= 4
    assert max(it.arrived for it in requests) > 0


# -- plans ---------------------------------------------------------------------------------------------------


def machine(limits: Limits = ROOMY) -> Machine:
    return Machine(limits, PRICES, FORM, kv_bytes=1000.0)


LENGTHS = lognormal_lengths(Lognormal(50, 0.5), Lognormal(60, 0.8), Lognormal(20, 0.3), 500, seed=0)


@pytest.mark.parametrize("budget", [0, 32, None])
def test_more_load_is_never_faster(budget: int | None) -> None:
    load = Load(LENGTHS, rate=1.0, count=600)
    outcomes = [under(rate, budget, load, machine()) for rate in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)]
    for quantile in (0.5, 0.95):
        seconds = [latency(outcome.requests, quantile) for outcome in outcomes]
        assert seconds == sorted(seconds)
    tokens = [outcome.made for outcome in outcomes]
    assert len(set(tokens)) == 1, "the same replies at every rate"


def test_capacity_in_closed_form() -> None:
    flat = LinearSteps(step=0.01, token=0.001, context=0, prefill=0, started=0, resumed=0)
    limits = replace(ROOMY, max_num_seqs=8, max_batched_tokens=10_000)
    load = Load([Lengths(16, 80, 18)], rate=1.0, count=2000)
    # 100 tokens a reply, 8 at a time, each step 0.018 s; a reply is taken in where another has ended.
    found = capacity(None, load, Machine(limits, flat, FORM, 1.0))
    assert found == pytest.approx(8 / (100 * 0.018), rel=0.03)


def test_replicas_are_the_fewest() -> None:
    for least, answer in ((1, 1), (1, 2), (1, 37), (5, 5), (5, 6), (3, 4096)):
        asked: list[int] = []

        def fits(count: int, answer: int = answer, asked: list[int] = asked) -> bool:
            asked.append(count)
            return count >= answer

        assert fewest(fits, least) == max(least, answer)
        assert len(asked) < 30
    load = Load(LENGTHS, rate=12.0, count=400, target=4.0)
    (row,) = plan([None], load, machine())
    assert row.replicas is not None
    assert row.replicas > 1
    assert row.latency_p95 <= 4.0
    few = plan([None], load, machine(), replicas=row.replicas - 1)[0]
    assert few.latency_p95 > 4.0 or few.rate >= few.capacity
    assert plan([None], replace(load, target=0.01), machine())[0].replicas is None


def test_a_smaller_budget_needs_no_more_of_anything() -> None:
    rows = plan([0, 16, 64, None], Load(LENGTHS, rate=8.0, count=400, target=6.0), machine())
    replicas = [row.replicas for row in rows]
    assert None not in replicas
    assert [row.capacity for row in rows] == sorted((row.capacity for row in rows), reverse=True)
    assert [row.thinking_tokens for row in rows] == sorted(row.thinking_tokens for row in rows)
    assert rows[0].cut == rows[-1].cut == 0 < rows[2].cut < rows[1].cut
    assert rows[-1].as_dict()["budget"] == "max"


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


def test_outcomes_hold_their_requests() -> None:
    outcome: Outcome = Engine(ROOMY, PRICES, FORM).run([])
    assert (outcome.made, outcome.seconds, outcome.steps) == (0, 0.0, 0)
