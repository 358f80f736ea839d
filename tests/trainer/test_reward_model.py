"""Reward models: trained on pairs, scoring replies, and what comes after such a stage."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import rl_runs
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from evals.problems import Problem, load
from serve import DEFAULT_MODEL
from serve.formats import load_format
from trainer.checkpoints import load_tokenizer
from trainer.cli import main
from trainer.completion import Completion
from trainer.preference.given import read_pairs
from trainer.preference.pairs import Pair
from trainer.progress import Progress
from trainer.progress.traces import render_trace
from trainer.recipe import Recipe
from trainer.recipe.rl import RewardTerm
from trainer.reward_model.held_out import measure
from trainer.reward_model.noise import turn_around
from trainer.rewards import build_rewards
from trainer.rows.row import Row
from trainer.run import run_recipe
from trainer.study.arms import spell_out

pytestmark = pytest.mark.slow

STEPS = 8
HELD_OUT = 6
REWARD_MODEL: dict[str, Any] = {
    "kind": "reward_model",
    "epochs": 2,
    "batch_pairs": 6,
    "micro_batch_tokens": 200,
    "checkpoint_every": 3,
    "evaluate_every": 4,
    "optimizer": {"adamw_lr": 3e-3, "warmup": 0.0},
}
RL = rl_runs.STAGE | {
    "steps": 1,
    "evaluate_every": 0,
    "rewards": [{"name": "learned", "options": {"stage": "reward_model", "squash": "clip", "limit": 2.0}}],
    "rewards_unverified": True,
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers over excuses, which a model learns to tell in a few steps."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for problem in load("thinkmath", limit=24 + HELD_OUT):
            answer, excuse = (
                f"The answer is \\boxed{{{problem.answer}}}.",
                "I do not know the answer to that.",
            )
            row = {"prompt": problem.problem, "chosen": answer, "rejected": excuse}
            file.write(json.dumps(row) + "\n")
    return path


def recipe(pairs: Path, *stages: dict[str, Any], **model: Any) -> Recipe:
    first = REWARD_MODEL | {"pairs": {"path": str(pairs), "held_out": HELD_OUT}}
    members = {"threads": 1, "model": {"path": str(DEFAULT_MODEL), **model}}
    return Recipe.model_validate({**members, "stages": [first, *stages]})


@pytest.fixture(scope="module")
def run(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model, then a policy that is rewarded by it."""
    out = tmp_path_factory.mktemp("run")
    run_recipe(recipe(pairs, RL), out)
    return out


def test_it_tells_pairs_apart_that_it_was_not_trained_on(run: Path) -> None:
    records = rl_runs.records(run / "reward_model")
    trained = [record for record in records if "loss" in record]
    assert [record["step"] for record in trained] == list(range(1, STEPS + 1))
    # A head drawn at random is no better than chance, log 2.
    assert trained[0]["loss"] > math.log(2) - 0.3
    assert trained[-1]["loss"] < 0.2
    measured = [record for record in records if "eval/pairs" in record]
    assert [record["step"] for record in measured] == [4, STEPS]
    last = measured[-1]
    assert last["eval/pairs"] == 1.0
    # Wilson's lower limit for 6 of 6.
    assert last["eval/pairs/low"] == pytest.approx(6 / (6 + 1.959964**2))
    assert last["eval/pairs/high"] == 1.0
    assert 0 <= last["eval/shorter"] <= 1


def test_the_checkpoint_is_a_sequence_classifier_with_what_standardises_its_scores(run: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(run / "reward_model" / "checkpoint")
    last = rl_runs.records(run / "reward_model")[-1]
    assert model.config.num_labels == 1
    assert model.config.reward == {"mean": last["score/mean"], "deviation": last["score/deviation"]}


def test_the_next_stage_begins_with_the_policy_before_and_is_rewarded_by_it(run: Path) -> None:
    resolved = json.loads((run / "recipe.json").read_text("utf-8"))
    assert resolved["stages"][1]["start"] is None
    (record,) = rl_runs.records(run / "rl")
    assert record["reward/total"] == pytest.approx(record["reward/learned"])
    assert -2 <= record["reward/learned"] <= 2
    assert math.isfinite(record["learned/score"])
    assert 0 <= record["reward/correctness"] == record["accuracy/no_think"] <= 1


def completion(reply: str, problem: Problem, **members: Any) -> Completion:
    thinking, _, answer = reply.rpartition("</think>\n\n")
    known = {
        "problem": problem,
        "thinks": False,
        "reply": reply,
        "thinking": thinking.removeprefix("<think>\n") or None,
        "answer": answer,
        "tokens": 9,
        "thinking_tokens": 0,
        "max_tokens": 50,
        "budget": None,
        "stop_cause": "natural",
        "finish_reason": "stop",
    }
    return Completion(**{**known, **members})


def test_learned_scores_are_a_forward_pass_of_the_model(run: Path) -> None:
    folder = run / "reward_model" / "checkpoint"
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    problem = load("thinkmath", limit=1)[0]
    thought = "<think>\n2+2=4\n</think>\n\nThe answer is \\boxed{4}."
    group = [
        completion("The answer is \\boxed{4}.", problem),
        completion("I do not know", problem, finish_reason="length"),
        completion(thought, problem, thinks=True),
    ]
    (scored,) = learned(folder).score([group], 0)
    for one, score in zip(group, scored, strict=True):
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": problem.problem}],
            add_generation_prompt=True,
            enable_thinking=one.thinks,
            tokenize=False,
        )
        text = prompt + one.reply + ("<|im_end|>" if one.finish_reason == "stop" else "")
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            direct = float(model(input_ids=ids).logits)
        assert score.notes["learned/score"] == pytest.approx(direct, abs=1e-5)
        standard = (direct - model.config.reward["mean"]) / model.config.reward["deviation"]
        assert score.parts["learned"] == pytest.approx(1 / (1 + math.exp(-standard)), abs=1e-5)
    assert scored[0].total > scored[1].total
    (answers,) = learned(folder, reads="answer").score([group], 0)
    # Without its thinking the third reply is the first.
    assert answers[2].total == pytest.approx(answers[0].total, abs=1e-6)


def learned(folder: Path, **options: Any) -> Any:
    options = {"path": str(folder), **options}
    return build_rewards([RewardTerm(name="learned", options=options)], unverified=True)


def test_scores_are_standardised_and_bounded(run: Path) -> None:
    problem = load("thinkmath", limit=1)[0]
    group = [completion("The answer is \\boxed{4}.", problem), completion("I do not know", problem)]

    def values(**options: Any) -> list[tuple[float, float]]:
        rewards = learned(run / "reward_model" / "checkpoint", **options)
        (scored,) = rewards.score([group], 0)
        return [(float(score.notes["learned/score"]), score.parts["learned"]) for score in scored]

    for score, value in values(squash="tanh", mean=0.5, deviation=2.0):
        assert value == pytest.approx(math.tanh((score - 0.5) / 2))
    for score, value in values(squash="clip", mean=0.0, deviation=1.0, limit=0.01):
        assert value == pytest.approx(math.copysign(0.01, score))


def row(*ids: int) -> Row:
    return Row(list(ids), [0.0] + [1.0] * (len(ids) - 1), 1, "no_think")


def test_noise_turns_its_share_of_the_pairs_around() -> None:
    pairs = [Pair(row(0, place), row(1, place), 1.0 + place) for place in range(40)]
    noisy = turn_around(pairs, 0.25, seed=3)
    turned = [place for place, pair in enumerate(noisy) if pair.chosen.ids[0] == 1]
    assert len(turned) == 10
    for place in turned:
        assert noisy[place] == Pair(pairs[place].rejected, pairs[place].chosen, pairs[place].weight)
    assert noisy == turn_around(pairs, 0.25, seed=3)
    assert noisy != turn_around(pairs, 0.25, seed=4)
    assert turn_around(pairs, 0.0, seed=3) == pairs


def test_from_noise_alone_nothing_is_learnt(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy = recipe(pairs).stages[0].model_copy(update={"noise": 0.5, "epochs": 1.0})
    run_recipe(recipe(pairs).model_copy(update={"stages": [noisy]}), tmp_path)
    assert "12 of the training pairs are turned around" in capsys.readouterr().err
    losses = [record["loss"] for record in rl_runs.records(tmp_path / "reward_model") if "loss" in record]
    # Every second pair says the opposite of the others.
    assert min(losses) > 0.4


def test_a_stopped_stage_goes_on_to_the_same_model(
    run: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Progress.log

    def stop(self: Progress, step: int, metrics: Any, tokens: int = 0) -> None:
        if step == 5:
            raise KeyboardInterrupt
        log(self, step, metrics, tokens)

    monkeypatch.setattr(Progress, "log", stop)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe(pairs), tmp_path)
    monkeypatch.undo()
    run_recipe(recipe(pairs), tmp_path)
    whole, resumed = (
        {(r["step"], "loss" in r): r for r in rl_runs.records(folder / "reward_model")}
        for folder in (run, tmp_path)
    )
    assert whole.keys() == resumed.keys()
    for key, record in whole.items():
        name = "loss" if key[1] else "score/mean"
        assert resumed[key][name] == pytest.approx(record[name], abs=1e-5)


def test_pairs_of_sampled_replies_and_lora(tmp_path: Path) -> None:
    """Adapters are merged into the checkpoint, and the head stays what was trained."""
    sampled = {
        "problems": 12,
        "held_out": 12,
        "samples": 6,
        "per_problem": 2,
        "modes": {"no_think": 1.0},
        "rollouts": rl_runs.STAGE["rollouts"],
    }
    stage = REWARD_MODEL | {"pairs": sampled, "data": rl_runs.STAGE["data"], "evaluate_every": 0}
    members = {"threads": 1, "model": {"path": str(DEFAULT_MODEL), "lora": {"rank": 2, "alpha": 4}}}
    run_recipe(Recipe.model_validate({**members, "stages": [stage]}), tmp_path)
    folder = tmp_path / "reward_model"
    told = [json.loads(line) for line in (folder / "pairs.jsonl").read_text("utf-8").splitlines()]
    last = rl_runs.records(folder)[-1]
    assert any(pair["held_out"] for pair in told)
    tokenizer = load_tokenizer(folder / "checkpoint")
    held_out = [
        Pair(*(ids(tokenizer, pair["prompt"], pair[name]) for name in ("chosen", "rejected")), 1.0)
        for pair in told
        if pair["held_out"]
    ]
    model = AutoModelForSequenceClassification.from_pretrained(folder / "checkpoint")
    again = measure(model, held_out, tokenizer.pad_token_id, 4096, torch.device("cpu"))
    assert again["score/mean"] == pytest.approx(last["score/mean"], abs=1e-4)
    assert again["eval/pairs"] == last["eval/pairs"]


def ids(tokenizer: Any, prompt: str, reply: str) -> Row:
    return row(*tokenizer.encode(prompt + reply, add_special_tokens=False))


def test_given_pairs_are_read_as_replies_to_be_scored_are(run: Path, pairs: Path) -> None:
    """A pair's row has the tokens that `learned` scores."""
    from trainer.rewards.reading import Reader

    folder = run / "reward_model" / "checkpoint"
    tokenizer = load_tokenizer(folder)
    reader = Reader(tokenizer, folder, "reply")
    named = read_pairs(pairs, load_format(tokenizer, folder))
    for problem, (_, pair) in zip(load("thinkmath", limit=3), named, strict=False):
        answer = f"The answer is \\boxed{{{problem.answer}}}."
        assert reader.ids(completion(answer, problem)) == pair.chosen.ids


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            [RL | {"start": "reward_model"}],
            r"stages.rl.start: 'reward_model' is wrong because .* a reward model",
        ),
        (
            [RL | {"rewards": [{"name": "learned", "options": {"stage": "judge"}}]}],
            r"stages.rl.rewards.learned.options.stage: 'judge' is no earlier reward_model stage",
        ),
        ([REWARD_MODEL | {"name": "two", "pairs": {"path": "p.jsonl"}}], "pairs.held_out: 0 is wrong"),
    ],
)
def test_recipes_that_cannot_be_are_refused(stages: list[dict[str, Any]], message: str, pairs: Path) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(pairs, *stages)


def test_what_a_judge_said_is_read_below_the_reply() -> None:
    trace = {"prompt": "Why?", "reply": [{"text": "So.", "inserted": False}], "reward": 0.4}
    shown = render_trace(trace | {"judge": 0.4, "judge/text": "Short.\nScore: 4"})
    assert shown == "--- reward 0.4, judge 0.4\nWhy?\n>>>\nSo.\n<<< judge/text\nShort.\nScore: 4\n"


def test_arms_of_a_study_share_their_reward_model(pairs: Path) -> None:
    arms = [RL | {"name": name, "start": str(DEFAULT_MODEL)} for name in ("low", "high")]
    study = spell_out(recipe(pairs, *arms), seeds=[0, 1])
    names = [stage.name for stage in study.recipe.stages]
    assert names == ["reward_model", "low_seed0", "high_seed0", "low_seed1", "high_seed1"]


def test_no_policy_begins_with_it_from_the_command_line_either(pairs: Path) -> None:
    with pytest.raises(ValueError, match="that stage leaves a reward model"):
        recipe(pairs, RL).begun_with("reward_model", ["rl"])


def test_a_dry_run_looks_at_pairs_and_reward_models(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        f"""
model.path = "{DEFAULT_MODEL}"
[[stages]]
kind = "reward_model"
epochs = 2
batch_pairs = 6
max_length = 512
optimizer = {{ adamw_lr = 1e-3 }}
pairs = {{ path = "{pairs}", held_out = {HELD_OUT} }}
[[stages]]
kind = "general_rl"
steps = 1
prompts_per_step = 2
group_size = 2
optimizer = {{ adamw_lr = 1e-3 }}
rollouts = {{ backend = "transformers", max_tokens = 40 }}
rewards_unverified = true
rewards = [{{ name = "learned", options = {{ stage = "reward_model" }} }}]
""",
        encoding="utf-8",
    )
    command = ["run", str(path), "--dry-run", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    (told,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("reward_model ")][:1]
    assert "24 examples" in told
    policy = f'{{ name = "learned", options = {{ path = "{DEFAULT_MODEL}" }} }}'
    assert main([*command, "--set", f"stages.general_rl.rewards=[{policy}]"]) == 2
    assert "which is no reward model" in capsys.readouterr().out
    assert main([*command, "--only", "general_rl"]) == 2
    assert "stage 'reward_model' is not finished" in capsys.readouterr().out
