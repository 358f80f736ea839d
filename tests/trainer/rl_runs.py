"""Small RL runs on the default model: short answers without thinking, of which about half are right."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from serve import DEFAULT_MODEL
from trainer.context import StageContext
from trainer.recipe import Recipe

ROOT = Path(__file__).parents[2]
STAGE: dict[str, Any] = {
    "kind": "general_rl",
    "name": "rl",
    "steps": 6,
    "prompts_per_step": 4,
    "group_size": 4,
    "checkpoint_every": 2,
    "micro_batch_tokens": 400,
    "optimizer": {"adamw_lr": 1e-3, "warmup": 0.0, "decay": 0.0},
    "data": [{"kind": "thinkmath", "levels": {1: 1, 2: 1}}],
    "modes": {"no_think": 1.0},
    "rollouts": {"backend": "transformers", "max_tokens": 24, "answer_tokens": 12, "temperature": 1.5},
}
THINKING: dict[str, Any] = {
    "prompts_per_step": 6,
    "modes": {"no_think": 0.5, "flagged": 0.5, "multi_turn": 0.3},
    "budget": {"mode": "uniform", "low": 2, "high": 12, "share": 0.5},
    "rollouts": {
        "backend": "transformers",
        "max_tokens": 96,
        "answer_tokens": 12,
        "temperature": 2.0,
        "tokens_per_step": 16,
        "refill": 1,
    },
    "sampling": {"strategy": "prioritised", "pool": 12},
}


def recipe(**members: Any) -> Recipe:
    """A recipe of one RL stage from the default model; `members` are put in STAGE."""
    return Recipe.model_validate(
        {"threads": 1, "model": {"path": str(DEFAULT_MODEL)}, "stages": [STAGE | members]}
    )


def context(run: Path, **members: Any) -> StageContext:
    """The stage of such a recipe, in `run`."""
    settings = recipe(**members)
    (stage,) = settings.stages
    folder = run / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext(settings, stage, 0, Path(DEFAULT_MODEL), run, folder)


def records(folder: Path) -> list[dict[str, Any]]:
    """The records of a stage's metrics."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]


def script(runs: Mapping[Path, dict[str, Any]]) -> str:
    """What another process runs such stages by, one after the other, each with the members of its run."""
    lines = [
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import rl_runs, pathlib",
        "from trainer.rl import run_stage",
        *(
            f"run_stage(rl_runs.context(pathlib.Path({str(run)!r}), **{members!r}))"
            for run, members in runs.items()
        ),
        "from accelerate import PartialState",
        "print(f'{PartialState().process_index}/{PartialState().num_processes}', flush=True)",
    ]
    file = next(iter(runs)) / "stage.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines), encoding="utf-8")
    return str(file)


def environment() -> dict[str, str]:
    """Of that process."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run_on_two_processes(runs: Mapping[Path, dict[str, Any]]) -> None:
    """Run such stages on two processes that train together."""
    # accelerate starts several CPU processes by its launcher for GPUs; --cpu starts one unless there is MPI.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--main_process_port", "0", script(runs)]
    on_cpu = environment() | {"ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(launch, env=on_cpu, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["0/2", "1/2"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Of the stage's checkpoint."""
    return load_file(run / "rl" / "checkpoint" / "model.safetensors")


def assert_same_run(first: Path, second: Path, tolerance: float) -> None:
    """Equal metrics at every step, times aside, and equal weights."""
    ours, theirs = records(first / "rl"), records(second / "rl")
    assert [record["step"] for record in ours] == [record["step"] for record in theirs]
    for one, other in zip(ours, theirs, strict=True):
        timed = {
            name for name in one if "seconds" in name or "per_second" in name or name.startswith("sync/")
        }
        for name in one.keys() - timed:
            assert one[name] == pytest.approx(other[name], abs=tolerance), (one["step"], name)
    for name, tensor in weights(first).items():
        torch.testing.assert_close(weights(second)[name], tensor, atol=tolerance, rtol=tolerance)
