"""The RL stage on the default model: killed and resumed, on two processes, collapsing, improving."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rl_runs
import torch
from safetensors.torch import load_file

from trainer.cli import main
from trainer.rl import CollapseError, run_stage

pytestmark = pytest.mark.slow

SAME = 1e-5


def test_a_killed_stage_resumes_to_the_same_trajectory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Partial rollouts in flight, prioritised sampling, refill, modes and budgets all survive kill -9."""
    members = rl_runs.THINKING | {"steps": 9, "evaluate_every": 100, "held_out_problems": 4}
    run_stage(rl_runs.context(tmp_path / "whole", **members))

    killed = tmp_path / "killed"
    arguments = [sys.executable, rl_runs.script({killed: members})]
    process = subprocess.Popen(arguments, env=rl_runs.environment(), stderr=subprocess.DEVNULL)
    state = killed / "rl" / "state"
    while process.poll() is None and not (state / "step-00000004").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (killed / "rl" / "checkpoint").exists()
    run_stage(rl_runs.context(killed, **members))
    assert "resuming after step" in capsys.readouterr().err

    pending = [
        record["group/pending"] for record in rl_runs.records(killed / "rl") if "group/pending" in record
    ]
    assert max(pending) > 0
    rl_runs.assert_same_run(tmp_path / "whole", killed, SAME)
    assert sorted(path.name for path in state.iterdir()) == ["step-00000008", "step-00000009"]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    members = {
        "steps": 3,
        "objective": {"minibatches": 2, "kl": {"coefficient": 0.01}, "advantage_std": True},
    }
    run_stage(rl_runs.context(tmp_path / "one", **members))
    rl_runs.run_on_two_processes({tmp_path / "two": members})
    assert rl_runs.records(tmp_path / "one" / "rl")[-1]["kl"] > 0
    rl_runs.assert_same_run(tmp_path / "one", tmp_path / "two", 1e-4)


def test_reward_rises(tmp_path: Path) -> None:
    """The same eight problems at every step, so that only the policy changes the reward."""
    members = {
        "steps": 14,
        "prompts_per_step": 8,
        "group_size": 8,
        "checkpoint_every": 100,
        "micro_batch_tokens": 2000,
        "data": [{"kind": "thinkmath", "levels": {3: 1}}],
        "sampling": {"pool": 8},
        "optimizer": {"adamw_lr": 5e-4, "warmup": 0.0, "decay": 0.0},
    }
    run_stage(rl_runs.context(tmp_path, **members))
    records = rl_runs.records(tmp_path / "rl")
    first = records[0]
    assert 0 < first["tokens/trained"] <= first["tokens"]
    assert 0 <= first["update/near_solved"] + first["update/near_hopeless"] <= 1
    assert min(first["length/right"], first["length/wrong"]) <= first["length/mean"]
    rewards = [record["reward/total"] for record in records]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.1, rewards


COLLAPSING = f"""
threads = 1
[model]
path = "{rl_runs.DEFAULT_MODEL}"
[[stages]]
kind = "general_rl"
steps = 30
prompts_per_step = 4
group_size = 4
optimizer = {{ adamw_lr = 0.3, warmup = 0.0 }}
modes = {{ no_think = 1.0 }}
collapse = {{ window = 2, reward_drop = 0.9 }}
rollouts = {{ backend = "transformers", max_tokens = 24, answer_tokens = 12 }}
"""


def test_a_collapse_stops_the_run_and_leaves_the_last_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(COLLAPSING, encoding="utf-8")
    assert main(["run", str(recipe), "--out", str(tmp_path / "run")]) == 1
    last = tmp_path / "run" / "general_rl" / "last"
    message = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"general_rl: at step \d+ the .* collapsed: ", message)
    assert re.search(rf"The last checkpoint, of step \d+, is {last}$", message)
    assert (last / "model.safetensors").exists()
    assert not (last.parent / "checkpoint").exists()


def test_the_best_checkpoint_measured_outlives_a_collapse(tmp_path: Path) -> None:
    members = {
        "steps": 30,
        "evaluate_every": 1,
        "held_out_problems": 4,
        "optimizer": {"adamw_lr": 0.3, "warmup": 0.0},
        "collapse": {"window": 2},
        "rollouts": rl_runs.STAGE["rollouts"] | {"max_tokens": 64},
    }
    with pytest.raises(CollapseError, match=r"The best checkpoint measured, of step 0, is .*best$"):
        run_stage(rl_runs.context(tmp_path, **members))
    before = load_file(Path(rl_runs.DEFAULT_MODEL) / "model.safetensors")
    best = load_file(tmp_path / "rl" / "best" / "model.safetensors")
    for name, tensor in before.items():
        torch.testing.assert_close(best[name], tensor.float())
    measured = [record for record in rl_runs.records(tmp_path / "rl") if "eval/think" in record]
    assert measured[0]["step"] == 0
    assert {"eval/think", "eval/no_think", "eval/thinking_tokens"} <= set(measured[0])
    assert measured[0]["eval/think"] * 4 == int(measured[0]["eval/think"] * 4)
    traces = (tmp_path / "rl" / "traces.jsonl").read_text(encoding="utf-8")
    assert '"reply"' in traces
