"""A preference stage for real, on short answers of the default model: it learns, resumes, and measures."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from serve import DEFAULT_MODEL
from trainer.preference import stage as stage_module
from trainer.progress.records import read_records
from trainer.recipe import Recipe
from trainer.recipe.model import Lora
from trainer.run import run_recipe

pytestmark = pytest.mark.slow

STEPS = 6
STAGE: dict[str, Any] = {
    "kind": "dpo",
    "steps": STEPS,
    "batch_pairs": 16,
    "objective": {"beta": 1.0},
    "micro_batch_tokens": 600,
    "checkpoint_every": 2,
    "evaluate_every": 3,
    "held_out_problems": 2,
    "optimizer": {"adamw_lr": 3e-3, "warmup": 0.0, "decay": 0.0},
    "data": [{"kind": "thinkmath", "levels": {2: 1}}],
    "pairs": {
        "problems": 48,
        "held_out": 16,
        "samples": 4,
        "modes": {"no_think": 1.0},
        "rollouts": {"backend": "transformers", "max_tokens": 60, "answer_tokens": 12, "temperature": 1.5},
    },
}


def recipe(**members: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "threads": 1,
            "model": {"path": str(DEFAULT_MODEL)},
            "stages": [STAGE | members],
        }
    )


def run(out: Path, **members: Any) -> Path:
    run_recipe(recipe(**members), out, only=["dpo"])
    return out / "dpo"


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read_records(folder / "metrics.jsonl") if "loss" in record]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("dpo") / "whole")


def test_it_learns_the_pairs_and_measures_held_out_ones(whole: Path) -> None:
    records = read_records(whole / "metrics.jsonl")
    steps = [record for record in records if "loss" in record]
    # Before the first update policy and reference are one.
    assert steps[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert steps[-1]["loss"] < 0.6
    assert steps[-1]["reward/margin"] > 0.1
    measured = {record["step"]: record for record in records if "held_out/win_rate" in record}
    assert list(measured) == [0, 3, 6]
    assert measured[0]["held_out/win_rate"] == 0.5
    assert measured[0]["held_out/reward/margin"] == pytest.approx(0, abs=1e-4)
    assert measured[0]["eval/kl"] == pytest.approx(0, abs=1e-5)
    assert measured[6]["eval/kl"] > 1e-3
    assert {"eval/think", "eval/no_think", "eval/win_rate", "eval/length", "eval/entropy"} <= measured[
        6
    ].keys()
    assert records[0]["rollout/tokens"] == sum(
        reply["inserted"].count(0)
        for record in read_records(whole / "replies.jsonl")
        for reply in record["replies"]
    )
    pairs = [json.loads(line) for line in (whole / "pairs.jsonl").read_text("utf-8").splitlines()]
    assert {pair["held_out"] for pair in pairs} == {True, False}
    assert (whole / "checkpoint" / "model.safetensors").exists()
    assert not (whole / "state").exists()


def test_a_stage_stopped_anywhere_goes_on_to_the_same_weights(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run" / "dpo"
    folder.mkdir(parents=True)
    # Stopped while it sampled, with half a line written ...
    content = (whole / "replies.jsonl").read_bytes()
    (folder / "replies.jsonl").write_bytes(content[: len(content) // 2])

    def stop(name: str, step: int, metrics: dict[str, float]) -> None:
        if step == 4:
            raise KeyboardInterrupt

    # ... and again in its fourth step, after the state of the second.
    with monkeypatch.context() as patch:
        patch.setattr(stage_module, "check_loss", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run")
    assert (folder / "replies.jsonl").read_bytes() == content
    assert (folder / "state" / "checkpoint-2" / "whole").exists()
    written = (folder / "reference" / "000000.safetensors").stat().st_mtime_ns
    run(tmp_path / "run")
    assert (folder / "reference" / "000000.safetensors").stat().st_mtime_ns == written
    assert losses(folder) == pytest.approx(losses(whole), abs=1e-6)
    weights = load_file(folder / "checkpoint" / "model.safetensors")
    for name, tensor in load_file(whole / "checkpoint" / "model.safetensors").items():
        assert torch.equal(tensor, weights[name]), name


def test_simpo_with_adapters_needs_no_reference(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "dpo"
    folder.mkdir(parents=True)
    shutil.copy(whole / "replies.jsonl", folder)
    pairs = {name: value for name, value in STAGE["pairs"].items() if name != "held_out"}
    simpo = recipe(
        pairs=pairs | {"problems": 64},
        evaluate_every=0,
        steps=8,
        batch_pairs=64,
        objective={"loss": "simpo"},
        optimizer={"adamw_lr": 5e-3},
    )
    model = simpo.model.model_copy(update={"lora": Lora(rank=2, alpha=4)})
    run_recipe(simpo.model_copy(update={"model": model}), tmp_path / "run", only=["dpo"])
    assert not list((folder / "reference").iterdir())
    first, *_, last = losses(folder)
    assert last < first
    assert "kl" not in read_records(folder / "metrics.jsonl")[-1]
    before = load_file(DEFAULT_MODEL / "model.safetensors")
    after = load_file(folder / "checkpoint" / "model.safetensors")
    assert before.keys() == after.keys()
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    assert any(not torch.equal(before[name], after[name]) for name in before)
