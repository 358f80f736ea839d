"""Two ranks of accelerate on CPU, each with an engine of its own beside its part of the training."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve.launch import free_port

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

from serve import DEFAULT_MODEL
from trainer.rollouts.engine import EngineBackend
from trainer.rollouts.types import RolloutRequest, Sampling

accelerator = Accelerator(cpu=True)
rank = accelerator.process_index
backend = EngineBackend(DEFAULT_MODEL, kv_cache_gib=0.05, max_rows=8)
model = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL)
model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.05))
ids = torch.tensor([backend.probe[rank:]])
for version in (1, 2):
    backend.generate([RolloutRequest(tuple(backend.probe), 16, rank)], Sampling(1.0))
    accelerator.backward(model(input_ids=ids, labels=ids).loss)
    optimizer.step()
    optimizer.zero_grad()
    assert backend.sync(model, version).probe_max < 1e-3
backend.close()
total = accelerator.reduce(torch.tensor([rank + 1.0]))
print(f"rank {rank} of {accelerator.num_processes}: {total.item()}", flush=True)
accelerator.end_training()
"""


def test_each_rank_has_an_engine(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    ended = subprocess.run(
        [sys.executable, *command, str(script)],
        env={**environment(), "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    for rank in (0, 1):
        assert f"rank {rank} of 2: 3.0" in ended.stdout


def environment() -> dict[str, str]:

    root = str(Path(__file__).parents[2])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
