"""A training run: killed in the middle it goes on exactly where it was; its checkpoint loads."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.recipe import load_recipe
from trainer.run import run_recipe

TINY = Path(__file__).parents[2] / "trainer" / "recipes" / "tiny.toml"
SMALL = [
    "threads=1",
    "chunk_batches=2",
    "checkpoint_chunks=2",
    "validation_chunks=100",
    "validation_problems=5",
    "model.hidden_size=64",
    "model.intermediate_size=64",
    "model.num_hidden_layers=1",
    "stages.cold_start.tokens=12000",
    "stages.cold_start.batch_tokens=512",
    "stages.fusion.tokens=12000",
    "stages.fusion.batch_tokens=512",
    "stages.mode_following.tokens=2000",
    "stages.mode_following.batch_tokens=512",
]


def command(out: Path) -> list[str]:
    overrides = [part for override in SMALL for part in ("--set", override)]
    return [sys.executable, "-m", "clients.cli", "train", "run", str(TINY), "--out", str(out), *overrides]


def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole = run_recipe(load_recipe(TINY, SMALL), tmp_path / "whole")

    killed = tmp_path / "killed"
    checkpoint = killed / "fusion" / "checkpoint.pt"
    process = subprocess.Popen(command(killed), stderr=subprocess.DEVNULL)
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (killed / "fusion" / "checkpoint").exists()
    metrics = killed / "fusion" / "metrics.jsonl"
    with metrics.open("a", encoding="utf-8") as log:
        log.write('{"step": 1')
    resumed = subprocess.run(command(killed), capture_output=True, text=True, check=True)
    assert "fusion: resuming at step" in resumed.stderr
    assert "cold_start: done" in resumed.stderr

    expected, actual = (
        load_file(whole / "model.safetensors"),
        load_file(killed / whole.relative_to(tmp_path / "whole") / "model.safetensors"),
    )
    assert expected.keys() == actual.keys()
    for name, weights in expected.items():
        assert torch.equal(weights, actual[name]), name
    steps = [json.loads(line)["step"] for line in metrics.read_text(encoding="utf-8").splitlines()]
    uninterrupted = tmp_path / "whole" / "fusion" / "metrics.jsonl"
    assert steps == [
        json.loads(line)["step"] for line in uninterrupted.read_text(encoding="utf-8").splitlines()
    ]


def test_a_checkpoint_loads_and_another_recipe_is_refused(tmp_path: Path) -> None:
    checkpoint = run_recipe(load_recipe(TINY, SMALL), tmp_path)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    ids = tokenizer("1+1", return_tensors="pt").input_ids
    assert model(ids).logits.shape == (1, 3, model.config.vocab_size)
    assert json.loads((checkpoint / "thinking_format.json").read_text("utf-8"))["close"] == "</think>"
    with pytest.raises(ValueError, match="seed differ"):
        run_recipe(load_recipe(TINY, [*SMALL, "seed=1"]), tmp_path)
