"""SFT stages for real: they learn, resume exactly after a kill, and are the same on two processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from trainer.recipe import load_recipe
from trainer.run import run_recipe
from trainer.sft.state import SEAL, newest_whole

pytestmark = pytest.mark.slow

RECIPE = """
threads = 1
[model.shape]
vocab_size = 576
hidden_size = 32
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 1
num_key_value_heads = 1
head_dim = 32
rope_theta = 10000.0
max_position_embeddings = 1024
[[stages]]
kind = "fusion"
tokens = 9000
batch_tokens = 512
checkpoint_every = 4
optimizer = { muon_lr = 0.02, adamw_lr = 0.003 }
mix = { cuts = 1, no_think_branches = true, answer_weight = 3.0 }
"""
STEPS = 18


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def command(recipe: Path, out: Path, *overrides: str) -> list[str]:
    pairs = [part for override in overrides for part in ("--set", override)]
    return ["trainer.cli", "run", str(recipe), "--out", str(out), *pairs]


def records(out: Path) -> list[dict[str, float]]:
    text = (out / "fusion" / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "fusion" / "checkpoint" / "model.safetensors")


def test_a_killed_stage_resumes_to_the_same_losses_and_weights(recipe: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_recipe(load_recipe(recipe), whole)
    expected = records(whole)
    assert [record["step"] for record in expected] == list(range(1, STEPS + 1))
    assert expected[-1]["loss"] < expected[0]["loss"] - 1
    assert not (whole / "fusion" / "state").exists()

    process = subprocess.Popen([sys.executable, "-m", *command(recipe, killed)], stderr=subprocess.DEVNULL)
    state = killed / "fusion" / "state"
    while process.poll() is None and newest_whole(state) is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    sealed = newest_whole(state)
    assert sealed is not None
    # As a kill while a later checkpoint or record is written leaves it.
    half = state / "checkpoint-17"
    shutil.copytree(sealed, half, ignore=shutil.ignore_patterns(SEAL, "optimizer.pt"))
    (half / "model.safetensors").write_bytes(b"half")
    with (killed / "fusion" / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"step": 1')

    run_recipe(load_recipe(recipe), killed)
    resumed = records(killed)
    assert [record["step"] for record in resumed] == list(range(1, STEPS + 1))
    for before, after in zip(expected, resumed, strict=True):
        assert after["loss"] == pytest.approx(before["loss"], abs=1e-5)
        assert after["tokens"] == before["tokens"]
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(killed)[name]), name


def test_two_processes_and_micro_batches_give_what_one_process_gives(recipe: Path, tmp_path: Path) -> None:
    steps = "stages.fusion.tokens=3072"
    adamw = "stages.fusion.optimizer={ adamw_lr = 0.003 }"
    one, two = tmp_path / "one", tmp_path / "two"
    run_recipe(load_recipe(recipe, [steps, adamw]), one)
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
    ]
    overrides = (steps, adamw, "stages.fusion.micro_batch_tokens=200")
    subprocess.run([*launch, "-m", *command(recipe, two, *overrides)], check=True)
    for alone, shared in zip(records(one), records(two), strict=True):
        assert shared["loss"] == pytest.approx(alone["loss"], abs=1e-4)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, atol=1e-4, rtol=1e-3)


def test_lora_packing_and_held_out_measurement(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    overrides = [
        "model.lora={ rank = 4, alpha = 8 }",
        "model.gradient_checkpointing=true",
        "stages.fusion.tokens=2048",
        "stages.fusion.packing=true",
        "stages.fusion.max_length=256",
        "stages.fusion.evaluate_every=3",
        "stages.fusion.optimizer={ adamw_lr = 0.003 }",
    ]
    run_recipe(load_recipe(recipe, overrides), out)
    measured = {record["step"]: record for record in records(out) if "eval/loss" in record}
    assert list(measured) == [3, 4]
    assert {"eval/think", "eval/cut", "eval/no_think"} <= set(measured[4])
    before, after = load_file(out / "init" / "model.safetensors"), weights(out)
    assert before.keys() == after.keys()
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    layer = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(before[layer], after[layer])
    AutoModelForCausalLM.from_pretrained(out / "fusion" / "checkpoint")


def test_a_loss_that_is_no_number_stops_the_stage(recipe: Path, tmp_path: Path) -> None:
    wild = load_recipe(
        recipe, ["stages.fusion.optimizer={ adamw_lr = 1e30, warmup = 0.0, max_grad_norm = 1e30 }"]
    )
    with pytest.raises(ValueError, match="fusion: the loss is nan in step"):
        run_recipe(wild, tmp_path / "out")


def test_held_out_replies_must_exist(recipe: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    row = {"problem": "1+1?", "answer": "2", "thinking": "1+1=2", "response": "\\boxed{2}"}
    data.write_text("".join(json.dumps({**row, "id": str(i)}) + "\n" for i in range(8)), encoding="utf-8")
    source = f'stages.fusion.data=[{{ kind = "jsonl", path = "{data}" }}]'
    with pytest.raises(ValueError, match=r"evaluate_every.*no held-out"):
        run_recipe(load_recipe(recipe, [source, "stages.fusion.evaluate_every=1"]), tmp_path / "out")
