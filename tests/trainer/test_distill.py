"""A distillation stage on a micro student of the default model: it learns, in both modes, and resumes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from serve import DEFAULT_MODEL
from serve.formats import load_format
from trainer.checkpoints import save_checkpoint
from trainer.distill.prompts import PromptStream
from trainer.distill.replies import TeacherRows, sample_replies
from trainer.distill.vocabulary import check_same_vocabulary
from trainer.progress.records import read_records
from trainer.recipe import load_recipe
from trainer.recipe.rl import Modes
from trainer.recipe.stages import Distill, OffPolicy
from trainer.rollouts import open_backend
from trainer.rows.batch import forward, make_batch
from trainer.run import run_recipe
from trainer.sources import open_sources

pytestmark = pytest.mark.slow

OFF_STEPS, ON_STEPS = 60, 20
RECIPE = """
threads = 1

[model]
path = "{student}"

[ablation]
budgets = [8]
limit = 12

[[stages]]
kind = "distill"
seed = 0
teacher = "{teacher}"
data = [{{ kind = "thinkmath", levels = {{ 1 = 1.0 }} }}]
optimizer = {{ adamw_lr = 0.01, warmup = 0.0 }}
checkpoint_every = 3
evaluate_every = {on_steps}
held_out_problems = 48
modes = {{ no_think = 0.5, flagged = 0.5 }}
rollouts = {{ backend = "transformers", max_tokens = 48, answer_tokens = 16 }}
off_policy = {{ problems = 16, tokens = {off_tokens}, batch_tokens = 1000 }}
on_policy = {{ steps = {on_steps}, prompts_per_step = 8, micro_batches = 2, beta = 0.5 }}
"""


def new_student(folder: Path, vocab_size: int = 576) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(DEFAULT_MODEL)
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    save_checkpoint(Qwen3ForCausalLM(config), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distill")
    student = new_student(folder / "student")
    text = RECIPE.format(
        student=student, teacher=DEFAULT_MODEL, off_tokens=1000 * OFF_STEPS, on_steps=ON_STEPS
    )
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def run(recipe_path: Path) -> Path:
    """The folder of the stage, run without a break in one process."""
    out = recipe_path.parent / "whole"
    run_recipe(load_recipe(recipe_path), out, only=["distill"])
    return out / "distill"


def losses(stage: Path, phase: str) -> list[float]:
    records = read_records(stage / phase / "metrics.jsonl")
    return [record["loss"] for record in records if "loss" in record]


def agreement(checkpoint: Path, run: Path) -> tuple[float, float]:
    """Shares of the teacher's sampled tokens, and of its no_think replies, that are the first choice."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    stage = load_recipe(run.parents[1] / "recipe.toml").stages[0]
    assert isinstance(stage, Distill)
    form = load_format(tokenizer, checkpoint)
    prompts = PromptStream(open_sources(stage.data, 0), stage.modes, form, 0, "off_policy")
    settings = OffPolicy(problems=1, tokens=1, batch_tokens=1)
    rows = TeacherRows(run / "teacher.jsonl", prompts, settings, seed=0)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokens: list[bool] = []
    replies: list[bool] = []
    for index in range(sum(rows.kept.values())):
        row = rows.at(index)
        batch = make_batch([[row]], pad=0)
        with torch.no_grad():
            guesses = forward(model, batch)[0, :-1].argmax(-1)
        trained = batch.weights[0, 1:] > 0
        right = (guesses == batch.ids[0, 1:])[trained].tolist()
        tokens += right
        if row.kind == "no_think":
            replies.append(all(right))
    return sum(tokens) / len(tokens), sum(replies) / len(replies)


def test_the_teachers_replies_are_learnt(run: Path, recipe_path: Path) -> None:
    tokens, replies = agreement(recipe_path.parent / "student", run)
    assert tokens < 0.1
    assert replies == 0
    tokens, replies = agreement(run / "off_policy" / "checkpoint", run)
    assert tokens > 0.6
    assert replies > 0
    first, *_, last = losses(run, "off_policy")
    assert last < first / 3


def test_on_policy_draws_both_modes_to_the_teacher(run: Path) -> None:
    measured = {record["step"]: record for record in read_records(run / "metrics.jsonl")}
    assert sorted(measured) == [1, 2, 3]
    before, after = ([measured[step][f"eval/kl/{mode}"] for mode in ("think", "no_think")] for step in (2, 3))
    assert after[0] < before[0]
    assert after[1] < before[1]
    assert sum(after) < 0.8 * sum(before)
    during = read_records(run / "on_policy" / "metrics.jsonl")
    assert during[-1]["eval/kl/think"] == pytest.approx(measured[3]["eval/kl/think"], rel=1e-3)


def test_what_a_step_says(run: Path) -> None:
    record = read_records(run / "on_policy" / "metrics.jsonl")[0]
    assert {"loss", "entropy", "length/mean", "length/thinking", "mode/following"} <= record.keys()
    assert 0 < record["length/mean"] <= 48
    assert record["sync/probe_max"] < 0.02
    traces = read_records(run / "on_policy" / "traces.jsonl")
    assert {trace["step"] for trace in traces} == {ON_STEPS}
    assert len(traces) == 4
    assert (run / "on_policy" / "metrics.png").exists()


def test_the_result_is_a_checkpoint_and_the_training_state_is_gone(run: Path) -> None:
    AutoModelForCausalLM.from_pretrained(run / "checkpoint")
    assert (
        load_format(AutoTokenizer.from_pretrained(run / "checkpoint"), run / "checkpoint").close == "</think>"
    )
    assert not list(run.rglob("state"))


def assert_same(run: Path, other: Path, tolerance: float) -> None:
    """The same losses in both phases, and the same weights."""
    for phase in ("off_policy", "on_policy"):
        assert losses(other, phase) == pytest.approx(losses(run, phase), abs=tolerance)
    weights = load_file(run / "checkpoint" / "model.safetensors")
    others = load_file(other / "checkpoint" / "model.safetensors")
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, rtol=0, atol=10 * tolerance)


def command(recipe_path: Path, out: Path, *launcher: str) -> list[str]:
    return [*launcher, "-m", "trainer.cli", "run", str(recipe_path), "--out", str(out), "--only", "distill"]


def test_a_killed_stage_goes_on_where_it_was(run: Path, recipe_path: Path) -> None:
    out = recipe_path.parent / "killed"
    metrics = out / "distill" / "on_policy" / "metrics.jsonl"
    with subprocess.Popen(command(recipe_path, out, sys.executable), stderr=subprocess.PIPE) as process:
        while len(read_records(metrics)) < 5:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (out / "distill" / "checkpoint").exists()
    assert len(read_records(metrics)) < ON_STEPS
    run_recipe(load_recipe(recipe_path), out, only=["distill"])
    assert_same(run, out / "distill", tolerance=1e-5)


def test_two_processes_do_what_one_does(run: Path, recipe_path: Path) -> None:
    out = recipe_path.parent / "two"
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    # Of the second phase only the first step is compared.
    changed = [*command(recipe_path, out, *launcher), "--set", "stages.distill.on_policy.steps=1"]
    launched = subprocess.run(changed, capture_output=True, text=True)
    assert launched.returncode == 0, launched.stderr
    records = read_records(out / "distill" / "off_policy" / "metrics.jsonl")
    assert [record["step"] for record in records] == list(range(1, OFF_STEPS + 1)), "one process writes"
    assert losses(out / "distill", "off_policy") == pytest.approx(losses(run, "off_policy"), abs=1e-3)
    # Only the first replies are surely equal: once rounding has changed a sampled token, all after it differ.
    first, expected = losses(out / "distill", "on_policy")[0], losses(run, "on_policy")[0]
    assert first == pytest.approx(expected, abs=1e-3)


@pytest.fixture
def prompts() -> PromptStream:
    form = load_format(AutoTokenizer.from_pretrained(DEFAULT_MODEL), DEFAULT_MODEL)
    examples = open_sources(Distill.model_fields["data"].default, 0)
    return PromptStream(examples, Modes(no_think=0.5, flagged=0.5), form, 0, "test", samples=2)


def rollouts(**changes: object) -> Distill:
    stage = {
        "kind": "distill",
        "teacher": "unused",
        "optimizer": {"adamw_lr": 0.1},
        "rollouts": {"backend": "transformers", "max_tokens": 40, "answer_tokens": 8} | changes,
        "on_policy": {"steps": 1, "prompts_per_step": 1},
    }
    return Distill.model_validate(stage)


def test_prompts_ask_each_problem_in_modes_of_their_own(prompts: PromptStream) -> None:
    asked = [prompts.at(number) for number in range(100)]
    assert asked == [prompts.at(number) for number in range(100)]
    assert [one.problem.id for one in asked[::2]] == [one.problem.id for one in asked[1::2]]
    assert 30 < sum(one.thinks for one in asked) < 70
    assert len({one.seed for one in asked}) == 100


def test_sampling_goes_on_where_the_file_ends(
    prompts: PromptStream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = rollouts().rollouts
    backend = open_backend(settings, DEFAULT_MODEL, 0)
    sample_replies(tmp_path / "whole.jsonl", prompts, 12, settings, backend)
    content = (tmp_path / "whole.jsonl").read_bytes()
    (tmp_path / "cut.jsonl").write_bytes(content[: len(content) // 2])
    monkeypatch.setattr("trainer.distill.replies.CHUNK", 4)
    sample_replies(tmp_path / "cut.jsonl", prompts, 12, settings, backend)
    assert read_records(tmp_path / "cut.jsonl") == read_records(tmp_path / "whole.jsonl")


def write_replies(path: Path, replies: Sequence[dict[str, object]]) -> Path:
    common = {"token_ids": [5, 6, 7], "inserted": [0, 1, 0], "reply": "", "finish_reason": "stop"}
    lines = [json.dumps({"step": number, **common, **reply}) for number, reply in enumerate(replies, start=1)]
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_rows_leave_out_wrong_and_endless_replies_and_inserted_tokens(
    prompts: PromptStream, tmp_path: Path
) -> None:
    path = write_replies(
        tmp_path / "teacher.jsonl",
        [
            {"thinks": True, "right": True},
            {"thinks": True, "right": False},
            {"thinks": False, "right": True, "finish_reason": "length"},
            {"thinks": False, "right": True},
        ],
    )
    settings = OffPolicy(problems=2, samples=2, tokens=1, batch_tokens=1)
    rows = TeacherRows(path, prompts, settings, seed=0)
    assert rows.kept == {"think": 1, "no_think": 1}
    row = next(row for row in (rows.at(0), rows.at(1)) if row.kind == "think")
    assert row.ids == [*prompts.at(0).ids, 5, 6, 7]
    assert row.weights == [0.0] * len(prompts.at(0).ids) + [1.0, 0.0, 1.0]
    every = TeacherRows(path, prompts, settings.model_copy(update={"only_right": False}), seed=0)
    assert every.kept == {"think": 2, "no_think": 1}
    passes = [[rows.at(index).kind for index in (2 * epoch, 2 * epoch + 1)] for epoch in range(20)]
    assert all(sorted(kinds) == ["no_think", "think"] for kinds in passes)
    assert len({tuple(kinds) for kinds in passes}) == 2


def test_a_mode_without_a_right_reply_is_an_error(prompts: PromptStream, tmp_path: Path) -> None:
    path = write_replies(
        tmp_path / "teacher.jsonl", [{"thinks": True, "right": True}, {"thinks": False, "right": False}]
    )
    with pytest.raises(ValueError, match=r"off_policy: none of the teacher's 1 no_think replies"):
        TeacherRows(path, prompts, OffPolicy(problems=1, tokens=1, batch_tokens=1), seed=0)


def test_adapters_are_trained_and_merged(recipe_path: Path, tmp_path: Path) -> None:
    changes = [
        "model.lora={rank=2,alpha=4,target_modules=['q_proj','up_proj']}",
        "stages.distill.evaluate_every=0",
        "stages.distill.on_policy.steps=2",
    ]
    recipe = load_recipe(recipe_path, changes)
    stage = recipe.stages[0].model_copy(update={"off_policy": None})
    run_recipe(recipe.model_copy(update={"stages": [stage]}), tmp_path, only=["distill"])
    before = load_file(recipe_path.parent / "student" / "model.safetensors")
    after = load_file(tmp_path / "distill" / "checkpoint" / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name.split(".")[-2] for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {"q_proj", "up_proj"}


def test_vocabularies_must_be_the_same(tmp_path: Path) -> None:
    check_same_vocabulary(new_student(tmp_path / "same"), DEFAULT_MODEL)
    with pytest.raises(ValueError, match=r"teacher: .* embedding has 576 rows and the student's 640"):
        check_same_vocabulary(new_student(tmp_path / "larger", vocab_size=640), DEFAULT_MODEL)
    other = AutoTokenizer.from_pretrained(DEFAULT_MODEL)
    other.add_tokens(["<extra>"])
    other.save_pretrained(tmp_path / "same")
    with pytest.raises(ValueError, match=r"teacher: .* 1 tokens differ, such as '<extra>'"):
        check_same_vocabulary(tmp_path / "same", DEFAULT_MODEL)


def test_prompts_that_cannot_be_divided_are_refused(recipe_path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_path, ["stages.distill.on_policy.prompts_per_step=7"])
    with pytest.raises(ValueError, match=r"on_policy\.prompts_per_step: 7 is wrong .* give a multiple of 2"):
        run_recipe(recipe, tmp_path, only=["distill"])
