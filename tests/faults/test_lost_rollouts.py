"""A rollout server is killed in the middle of a step: the run says which, and goes on once it is back."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serve import DEFAULT_MODEL
from serve.launch import free_port, start_server
from tests.faults import stage_runs
from tests.faults.processes import metric, wait_until
from trainer.progress.records import read_records

RECIPE = """
threads = 1
[model]
path = "{model}"
[[stages]]
kind = "reasoning_rl"
name = "rl"
steps = 2
prompts_per_step = 2
group_size = 2
checkpoint_every = 1
optimizer = {{ adamw_lr = 1e-4 }}
[stages.rollouts]
backend = "servers"
urls = ["{url}"]
weights_folder = "{folder}"
max_tokens = 400
answer_tokens = 12
temperature = 2.0
"""


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_rollout_server_is_lost_in_the_middle_of_a_step(tmp_path: Path) -> None:
    folder, port, out = tmp_path / "weights", free_port(), tmp_path / "run"
    folder.mkdir()
    flags = ["--weight-updates", str(folder), "--dtype", "float32"]
    recipe = tmp_path / "recipe.toml"
    with (
        start_server(port=port, args=flags, log_path=tmp_path / "first") as server,
        ThreadPoolExecutor(1) as pool,
    ):
        recipe.write_text(RECIPE.format(model=DEFAULT_MODEL, url=server.base_url, folder=folder))
        running = pool.submit(stage_runs.run, recipe, out)
        wait_until(
            lambda: running.done() or (out / "rl" / "state" / "step-00000001").exists(), "the first step ends"
        )
        wait_until(
            lambda: running.done() or metric(server.base_url, "vllm:num_requests_running") > 0,
            "replies of the second step are drawn",
        )
        os.kill(server.process.pid, signal.SIGKILL)
        assert running.result(120) == 1, stage_runs.said(recipe)
    said = stage_runs.said(recipe)
    assert "Traceback" not in said
    assert f"rollout server {server.base_url} is lost" in said
    assert f"the same command goes on from the last checkpoint in {out}" in said
    assert not list(folder.iterdir()), "weights were left in the servers' folder"
    before = read_records(out / "rl" / "metrics.jsonl")
    assert [record["step"] for record in before] == [1]

    with start_server(port=port, args=flags, log_path=tmp_path / "second"):
        assert stage_runs.run(recipe, out) == 0, stage_runs.said(recipe)
    after = read_records(out / "rl" / "metrics.jsonl")
    assert after[0] == before[0]
    assert [record["step"] for record in after] == [1, 2]
