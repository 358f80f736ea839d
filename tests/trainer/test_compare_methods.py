"""Comparisons: what is compared with like, what training cost, and the numbers of checkpoints measured."""

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_ablation import Made, MadeStage, write_sampled, write_stage
from safetensors.torch import save_file
from scipy import stats as scipy_stats
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from evals.budgets import Budget
from evals.stats import calibration_gaps, expected_calibration_error
from evals.store import iter_records
from serve import DEFAULT_MODEL
from serve.launch import RunningServer
from trainer import clock
from trainer.ablation.measure import curve_folder
from trainer.cli import main
from trainer.compare.account import Account, account_of, allowance, sampled_before
from trainer.compare.measure import draw, replies_folder, sampled_replies
from trainer.compare.methods import Method, check_start, common_settings, methods_of, unevenness
from trainer.compare.report import main_table
from trainer.compare.run import write_report
from trainer.compare.shift import Reply, Shift, score, shifts
from trainer.recipe import Recipe, load_recipe
from trainer.recipe.recipe import Ablation
from trainer.study.crossed import crossed_mean

RECIPES = Path(__file__).parents[2] / "trainer" / "recipes"
RL: dict[str, Any] = {
    "kind": "reasoning_rl",
    "optimizer": {"adamw_lr": 1e-3},
    "steps": 3,
    "prompts_per_step": 4,
    "group_size": 2,
    "rollouts": {"max_tokens": 10},
}


def method(name: str, path: Path | None = None, **members: Any) -> Method:
    model = {"path": str(path or "x/y")}
    return Method(name, Recipe.model_validate({"model": model, "stages": [RL | members]}))


def checkpoint(folder: Path, weights: str) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}", "utf-8")
    save_file({"weights": torch.tensor(list(weights.encode()))}, folder / "model.safetensors")
    return folder


def test_methods_begin_with_the_same_weights(tmp_path: Path) -> None:
    one, copy = checkpoint(tmp_path / "one", "w"), checkpoint(tmp_path / "copy", "w")
    other = checkpoint(tmp_path / "other", "v")
    check_start([method("a", one), method("b", copy), method("c", one, start=str(copy))])
    with pytest.raises(ValueError, match=r"b: model.path .*other' holds other weights than a: model.path"):
        check_start([method("a", one), method("b", other)])
    with pytest.raises(ValueError, match=r"b: stages.reasoning_rl .*other' holds other weights"):
        check_start([method("a", one), method("b", one, start=str(other))])
    thinking = method("b", one)
    model = thinking.recipe.model.model_copy(update={"thinking": {}})
    given = Method("b", thinking.recipe.model_copy(update={"model": model}))
    with pytest.raises(ValueError, match=r"model\.thinking: differs among a and b"):
        check_start([method("a", one), given])


def test_problems_and_rollout_tokens_are_planned_alike() -> None:
    assert allowance(method("a").recipe) == 3 * 4 * 2 * 10
    assert unevenness([method("a"), method("b", group_size=4, prompts_per_step=2)]) == []
    told = unevenness(
        [method("a"), method("b", steps=4), method("c", data=[{"kind": "thinkmath", "levels": {1: 1}}])]
    )
    assert told == [
        "c does not train on the problems of a (data)",
        "rollout tokens differ: at most 240 of a, 320 of b and 240 of c (replies times max_tokens)",
    ]


def test_what_is_no_comparison_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recipe = RECIPES / "methods" / "grpo.toml"
    for arguments, told in (
        ([str(recipe)], "recipes: 1 given"),
        (
            [str(recipe), str(recipe.parent / "dapo.toml"), "--set", "stages.0.seed=3"],
            "stages.reasoning_rl.seed",
        ),
        ([str(recipe), str(recipe.parent / "dapo.toml"), "--seeds", "0"], "seeds: [0]; give two or more"),
    ):
        assert main(["compare", *arguments, "--out", str(tmp_path)]) == 2
        assert told in capsys.readouterr().err
    here, there = (tmp_path / place / "grpo.toml" for place in ("a", "b"))
    with pytest.raises(ValueError, match="two files are named 'grpo'"):
        methods_of({here: method("a").recipe, there: method("b").recipe})
    measured = [
        Method(name, method(name).recipe.model_copy(update={"ablation": load_recipe(path).ablation}))
        for name, path in (("a", RECIPES / "grpo_biases.toml"), ("b", RECIPES / "budget_study.toml"))
    ]
    with pytest.raises(ValueError, match="ablation: the recipes measure differently"):
        common_settings(measured)
    assert common_settings([method("a"), method("b")]) is None
    assert common_settings([method("a"), measured[0]]) == measured[0].recipe.ablation


def test_the_shipped_methods_compare_like_with_like() -> None:
    names = ("grpo", "dr-grpo", "dapo", "gspo")
    methods = methods_of(
        {RECIPES / f"{n}.toml": load_recipe(RECIPES / "methods" / f"{n}.toml") for n in names}
    )
    assert unevenness(methods) == []
    stages = [
        one.recipe.stages[0].model_dump(exclude={"objective", "rewards", "rollouts"}) for one in methods
    ]
    assert all(stage == stages[0] for stage in stages)


def test_pairs_count_as_rollouts(tmp_path: Path) -> None:
    """DPO's recipe is planned like GRPO's: its pairs are as many replies."""
    paths = [RECIPES / "methods" / f"{name}.toml" for name in ("grpo", "dpo", "ppo")]
    grpo, dpo, ppo = methods_of({path: load_recipe(path) for path in paths})
    assert unevenness([grpo, dpo, ppo]) == []
    folder = tmp_path / "dpo"
    folder.mkdir()
    replies = [{"step": 1, "replies": [{"inserted": [0, 0, 1]}, {"inserted": [0]}]}]
    (folder / "replies.jsonl").write_text("".join(json.dumps(r) + "\n" for r in replies), "utf-8")
    (folder / "metrics.jsonl").write_text('{"step": 1, "tokens": 40}\n', "utf-8")
    assert account_of(dpo.recipe, tmp_path) == Account(3, 40, 0)
    assert sampled_before(dpo.recipe, dpo.result, tmp_path) == 3
    assert sampled_before(grpo.recipe, grpo.result, tmp_path) == 0


def test_accounts_add_up_stages_and_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(RECIPES / "tiny.toml")
    records: dict[str, list[dict[str, float]]] = {
        "cold_start": [{"step": 1, "tokens": 50}, {"step": 2, "tokens": 90}],
        "reasoning_rl": [
            {"step": 0, "tokens": 0, "eval/think": 0.5},
            {"step": 1, "tokens": 30, "tokens/trained": 20},
            {"step": 2, "tokens": 70, "tokens/trained": 25},
        ],
        "fusion": [{"step": 1, "tokens": 60}],
        "general_rl": [{"step": 1, "tokens": 8, "tokens/trained": 0}],
    }
    for name, rows in records.items():
        (tmp_path / name).mkdir()
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name / "metrics.jsonl").write_text(text, "utf-8")
    (tmp_path / "fusion" / "rejection").mkdir()
    (tmp_path / "fusion" / "rejection" / "000000.jsonl").write_text('{"tokens": 5}\n{"tokens": 6}\n', "utf-8")
    monkeypatch.setattr(clock, "NOTED_EVERY", 0.01)
    with clock.clocked(tmp_path / "fusion"):
        # What a kill would leave.
        while clock.read_seconds(tmp_path / "fusion") == 0:
            time.sleep(0.01)
    first = clock.read_seconds(tmp_path / "fusion")
    with pytest.raises(KeyboardInterrupt), clock.clocked(tmp_path / "fusion"):
        raise KeyboardInterrupt
    found = account_of(recipe, tmp_path)
    assert (found.rollout_tokens, found.trained_tokens) == (70 + 11 + 8, 90 + 45 + 60 + 0)
    assert found.seconds >= first > 0


def micro_model(seed: int) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=12,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
        initializer_range=0.5,
    )
    return Qwen3ForCausalLM(config).eval()


def test_shift_against_written_out_sums() -> None:
    """Padded together, scored one by one: sum over the reply's tokens and the vocabulary."""
    policy, start = micro_model(0), micro_model(1)
    replies = [Reply("a", (1, 2, 3), (4, 5)), Reply("b", (6,), (7, 8, 9, 10, 11))]
    for reply, found in zip(replies, score(policy, start, replies), strict=True):
        ids = torch.tensor([[*reply.prompt_ids, *reply.token_ids]])
        with torch.no_grad():
            p, q = (model(input_ids=ids).logits[0].double().log_softmax(-1) for model in (policy, start))
        kl = entropy = 0.0
        for place in range(len(reply.prompt_ids) - 1, ids.shape[1] - 1):
            kl += sum(
                math.exp(a) * (a - b) for a, b in zip(p[place].tolist(), q[place].tolist(), strict=True)
            )
            entropy -= sum(math.exp(a) * a for a in p[place].tolist())
        assert found.tokens == len(reply.token_ids)
        assert found.kl == pytest.approx(kl, rel=1e-4)
        assert found.entropy == pytest.approx(entropy / found.tokens, rel=1e-4)
    assert all(shift.kl == pytest.approx(0, abs=1e-5) for shift in score(policy, policy, replies))


def test_replies_of_a_server_are_scored_as_it_sampled_them(tmp_path: Path, server: RunningServer) -> None:
    """The server's log-probabilities of its tokens are those of the passes that entropy comes from."""
    settings = Ablation(limit=4, budgets=[8], max_tokens=96)
    draw("one", settings, tmp_path, server.base_url)
    replies = list(sampled_replies(tmp_path, "one"))
    assert len(replies) == 4
    assert (curve_folder(tmp_path, "one") / "samples.jsonl").is_file()
    for shift in shifts(DEFAULT_MODEL, DEFAULT_MODEL, replies):
        assert shift.kl == pytest.approx(0, abs=1e-4)
    model = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL, dtype=torch.float32).eval()
    records = {record.problem: record for record in iter_records(replies_folder(tmp_path, "one"))}
    for reply in replies:
        ids = torch.tensor([[*reply.prompt_ids, *reply.token_ids]])
        with torch.no_grad():
            logprobs = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        scored = logprobs.gather(-1, ids[0, 1:, None])[len(reply.prompt_ids) - 1 :, 0]
        sampled = records[reply.problem].logprobs
        assert sampled is not None
        assert scored.tolist() == pytest.approx(sampled.chosen, abs=0.02)


def test_gaps_average_to_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(200)
    right = (rng.random(200) < confidence**2).astype(float)
    for scheme in ("width", "mass"):
        gaps = calibration_gaps(confidence, right, 10, scheme)  # type: ignore[arg-type]
        expected = expected_calibration_error(confidence, right, 10, scheme)  # type: ignore[arg-type]
        assert gaps.mean() == pytest.approx(expected)
    assert calibration_gaps([], []).size == 0


def test_means_of_one_seed_and_of_equal_values() -> None:
    values = np.random.default_rng(0).normal(5, 1, (40, 1))
    found = crossed_mean(values)
    assert found is not None
    expected = scipy_stats.t.interval(0.95, 39, values.mean(), values.std(ddof=1) / math.sqrt(40))
    assert (found.low, found.high) == pytest.approx(expected)
    for value, p in ((0.0, 1.0), (2.0, 0.0)):
        equal = crossed_mean(np.full((5, 3), value))
        assert equal is not None
        assert (equal.mean, equal.low, equal.high, equal.p) == (value, value, value, p)


def test_a_comparison_from_stores(tmp_path: Path) -> None:
    """100 problems, of which the start solves half; "better" solves nine in ten, "same" the start's half."""
    budgets: tuple[Budget, ...] = (0, 4, 16, "max")
    solved = {"start": 50, "better_seed0": 90, "better_seed1": 92, "same_seed0": 50, "same_seed1": 50}
    for name, count in solved.items():
        problems = {f"p{i:02}": Made(20, list(budgets) if i < count else []) for i in range(100)}
        write_stage(tmp_path, name, MadeStage(problems), budgets)
        # Every answer's probability is 0.75; the first ten are right with the start's, ninety with better's.
        write_sampled(replies_folder(tmp_path, name), {p: (i < count, 0.75) for i, p in enumerate(problems)})
        length = 10 if name == "start" else 12 if name == "same_seed0" else 14
        shifts = [Shift(p, length, 0.5, 0.0 if name == "start" else 1.5) for p in problems]
        path = tmp_path / "shift" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"asked": {}, "replies": [one.to_json() for one in shifts]}), "utf-8")
    methods = {"better": ["better_seed0", "better_seed1"], "same": ["same_seed0", "same_seed1"]}
    accounts = {
        "better": [Account(1000, 400, 60), Account(3000, 600, 120)],
        "same": [Account(1000, 500, 60), Account(1000, 500, 60)],
    }
    progress = {"better": [[(0.0, 0.5), (1000.0, 0.9)], [(0.0, 0.5), (3000.0, 0.92)]], "same": []}
    numbers = write_report(methods, [0, 1], accounts, progress, [], tmp_path)
    start, better, same = numbers["rows"]
    assert start["values"]["think"]["mean"] == 0.5
    assert start["values"]["think"]["low"] > 0.35
    assert better["differences"]["think"]["by_seed"] == pytest.approx([0.40, 0.42])
    assert better["differences"]["no_think"]["mean"] == pytest.approx(0.41)
    assert better["differences"]["area"]["mean"] == pytest.approx(0.41)
    assert better["differences"]["think"]["low"] > 0.3
    # Equal answers do not prove equality.
    assert same["differences"]["think"]["low"] < 0 < same["differences"]["think"]["high"]
    assert start["values"]["ece"]["mean"] == pytest.approx(0.25)
    assert better["values"]["ece"]["by_seed"] == pytest.approx([0.15, 0.17])
    assert same["values"]["length"]["by_seed"] == [12, 14]
    assert same["differences"]["length"]["mean"] == pytest.approx(3)
    assert same["differences"]["length"]["low"] < 0
    assert better["values"]["kl"]["mean"] == pytest.approx(1.5)
    assert better["account"] == {"rollout_tokens": 2000, "trained_tokens": 500, "seconds": 90}
    of = {(row["first"], row["second"], row["quantity"]): row for row in numbers["between"]}
    assert of["better", "same", "think"]["mean"] == pytest.approx(-0.41)
    table = main_table(numbers)
    assert [row[0] for row in table.rows] == ["start", "better", "better - start", "same", "same - start"]
    assert "better 2.00 times those of same" in table.note
    text = (tmp_path / "comparison.md").read_text("utf-8")
    assert "better improves thinking accuracy over the start (+41.0" in text.replace("\\", "")
    assert "same is not shown to differ from the start" in text
    assert "better is above same in think by 41.0 points" in text
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
