"""A run: a tree of stages, killed and resumed; finished stages stay, and another recipe's run is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from micro_models import MICRO_RECIPE
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from evals.locks import acquire
from serve import DEFAULT_MODEL
from trainer.cli import main
from trainer.recipe import load_recipe
from trainer.run import LOCK, RunError, claim, differences, run_recipe, start_folder

pytestmark = pytest.mark.slow

RECIPE = (
    MICRO_RECIPE
    + """
[[stages]]
kind = "cold_start"
tokens = 600
batch_tokens = 300
optimizer = { adamw_lr = 1e-3 }

[[stages]]
kind = "fusion"
tokens = 3000
batch_tokens = 300
checkpoint_every = 1
optimizer = { adamw_lr = 1e-3, muon_lr = 1e-2 }

[[stages]]
kind = "cold_start"
name = "control"
start = "cold_start"
tokens = 600
batch_tokens = 300
optimizer = { adamw_lr = 1e-3 }
"""
)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def steps(folder: Path) -> list[int]:
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole"
    assert run_recipe(load_recipe(recipe), whole) == whole / "control" / "checkpoint"

    killed = tmp_path / "killed"
    arguments = ["run", str(recipe), "--out", str(killed)]
    log = (tmp_path / "log").open("w")
    command = [sys.executable, "-m", "trainer.cli", *arguments]
    with subprocess.Popen(command, stderr=log, stdout=log) as process:
        metrics = killed / "fusion" / "metrics.jsonl"
        while process.poll() is None and not (metrics.exists() and len(steps(killed / "fusion")) >= 3):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (killed / "fusion" / "checkpoint").exists()

    capsys.readouterr()
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "cold_start: done" in printed.err
    assert f"checkpoint: {killed}/control/checkpoint" in printed.out
    for stage in ("cold_start", "fusion", "control"):
        assert steps(whole / stage) == steps(killed / stage)
        expected = load_file(whole / stage / "checkpoint" / "model.safetensors")
        actual = load_file(killed / stage / "checkpoint" / "model.safetensors")
        assert expected.keys() == actual.keys()
        for name, weights in expected.items():
            torch.testing.assert_close(actual[name], weights, atol=1e-5, rtol=1e-5, msg=f"{stage}: {name}")

    # Both began with the cold start's weights, on other rows.
    norms = [
        load_file(whole / stage / "checkpoint" / "model.safetensors")["model.norm.weight"]
        for stage in ("fusion", "control")
    ]
    assert not torch.allclose(*norms, atol=1e-6)
    assert AutoModelForCausalLM.from_pretrained(whole / "control" / "checkpoint").config.hidden_size == 32

    # A finished run is not run again, and changes that alter nothing learnt are no other run.
    before = (whole / "fusion" / "checkpoint" / "model.safetensors").stat().st_mtime_ns
    assert main(["run", str(recipe), "--out", str(whole), "--set", "stages.fusion.checkpoint_every=7"]) == 0
    assert (whole / "fusion" / "checkpoint" / "model.safetensors").stat().st_mtime_ns == before


def test_only_runs_the_stages_named_from_a_checkpoint(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    short = ["--set", "stages.fusion.tokens=300"]
    assert main(["run", str(recipe), "--out", str(out), "--only", "fusion", *short]) == 2
    assert "stages.fusion.start: stage 'cold_start' is not finished" in capsys.readouterr().err
    first = run_recipe(load_recipe(recipe), tmp_path / "other", ["cold_start"])
    command = ["run", str(recipe), "--out", str(out), "--only", "fusion", "--from", str(first), *short]
    assert main(command) == 0
    assert (out / "fusion" / "checkpoint").is_dir()
    assert not (out / "cold_start").exists()
    assert json.loads((out / "recipe.json").read_text("utf-8"))["stages"][1]["start"] == str(first)
    assert main(["run", str(recipe), "--out", str(out), "--only", "polish"]) == 2


def test_terminated_it_says_how_to_go_on(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "trainer.cli", "run", str(recipe), "--out", str(out)]
    command += ["--set", "stages.cold_start.tokens=3000000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (out / "cold_start" / "metrics.jsonl").exists():
            time.sleep(0.05)
        process.terminate()
        _, errors = process.communicate()
    assert process.returncode == 130
    assert f"stopped; the same command goes on from the last checkpoint in {out}" in errors
    assert "Traceback" not in errors


def test_a_run_of_another_recipe_is_refused(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    claim(out, load_recipe(recipe))
    # Nothing has been learnt yet.
    claim(out, load_recipe(recipe, ["seed=1", "stages.fusion.tokens=9"]))
    claim(out, load_recipe(recipe))
    (out / "cold_start").mkdir()
    assert not differences(out, load_recipe(recipe, ["stages.fusion.tokens=9", "threads=2"]))
    assert not differences(out, load_recipe(recipe, ["stages.cold_start.evaluate_every=2"]))
    assert not differences(out, load_recipe(recipe, ["logging.trackers=['tensorboard']"]))
    changed = ["stages.cold_start.optimizer.adamw_lr=0.5", "model.shape.hidden_size=64"]
    assert differences(out, load_recipe(recipe, changed)) == [
        "model.shape.hidden_size",
        "stages.cold_start.optimizer.adamw_lr",
    ]
    with pytest.raises(RunError, match=r"holds a run whose seed, stages.cold_start.seed differ"):
        claim(out, load_recipe(recipe, ["seed=1"]))
    (out / "control").mkdir()
    assert differences(out, load_recipe(recipe, ["stages.control.start=fusion"])) == ["stages.control.start"]


def test_a_folder_that_another_run_writes_to_is_refused(recipe: Path, tmp_path: Path) -> None:
    held = acquire(tmp_path / LOCK)
    with pytest.raises(RunError, match=rf"another run \(process {os.getpid()}\)"):
        run_recipe(load_recipe(recipe), tmp_path)
    assert not (tmp_path / "recipe.json").exists()
    os.close(held)


def test_stages_begin_in_folders(recipe: Path, tmp_path: Path) -> None:
    loaded = load_recipe(recipe, [f"stages.control.start={tmp_path}"])
    with pytest.raises(RunError, match=r"stages\.fusion\.start: stage 'cold_start' is not finished"):
        start_folder(loaded, loaded.stages[1], tmp_path)
    with pytest.raises(RunError, match=r"stages.control.start: .* has no config.json"):
        start_folder(loaded, loaded.stages[2], tmp_path)
    (tmp_path / "cold_start" / "checkpoint").mkdir(parents=True)
    assert start_folder(loaded, loaded.stages[1], tmp_path) == tmp_path / "cold_start" / "checkpoint"


ONE_STEP_OF_RL = f"""
threads = 1
[model]
path = "{DEFAULT_MODEL}"
[[stages]]
kind = "reasoning_rl"
steps = 1
prompts_per_step = 1
group_size = 2
optimizer = {{ adamw_lr = 1e-3 }}
rollouts = {{ backend = "transformers", max_tokens = 64, answer_tokens = 12 }}
"""


def test_what_a_stage_cannot_train_on_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, rows = tmp_path / "recipe.toml", tmp_path / "chats.jsonl"
    recipe.write_text(ONE_STEP_OF_RL, encoding="utf-8")
    rows.write_text('{"problem": "Who are you?", "response": "A model."}\n', encoding="utf-8")
    data = f'stages.reasoning_rl.data=[{{kind="jsonl", path="{rows}"}}]'
    assert main(["run", str(recipe), "--out", str(tmp_path / "run"), "--set", data]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("thinkdial train: stages.reasoning_rl: data.0 (jsonl): row 1, 'chats")
    assert main(["run", str(recipe), "--out", str(tmp_path / "other"), "--set", data, "--dry-run"]) == 2


def test_errors_of_the_users_own_code_keep_their_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(ONE_STEP_OF_RL, encoding="utf-8")
    (tmp_path / "my_reward.py").write_text(
        "from trainer.rewards import bounded\n\n"
        "@bounded(0.0, 1.0)\ndef broken(group):\n    return [int('x') for _ in group]\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    terms = '[{name="correctness"}, {name="my_reward:broken", weight=0.1}]'
    command = ["run", str(recipe), "--out", str(tmp_path / "run")]
    with pytest.raises(ValueError, match="invalid literal for int") as raised:
        main([*command, "--set", f"stages.reasoning_rl.rewards={terms}"])
    assert not isinstance(raised.value, RunError)
