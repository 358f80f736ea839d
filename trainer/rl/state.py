"""The training state on disk: everything a killed stage needs to go on exactly where it was."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from trainer.saving import saving, sync

KEPT = 2
"""States on disk: the newest, and one more should a disk fail while it is read."""
LOOP_FILE = "loop.json"
_NAME = re.compile(r"step-(\d+)")


def kept_folder(folder: Path, step: int) -> Path:
    """Where a stage in `folder` keeps the checkpoint of a step (`keep_every`)."""
    return folder / "kept" / f"step-{step:08d}"


def save_state(accelerator: Accelerator, folder: Path, step: int, loop: dict[str, Any]) -> None:
    """Write `folder/step-N`: model and optimizer as accelerate saves them, and `loop` as JSON.

    It appears whole or not at all; older states beyond KEPT are removed afterwards. Every process calls this.
    """
    target = folder / f"step-{step:08d}"
    partial = folder / f"{target.name}.partial"
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    with saving(target):
        # Not safetensors, which warns at every state that tied weights are written once.
        accelerator.save_state(str(partial), safe_serialization=False)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            (partial / LOOP_FILE).write_text(json.dumps(loop), encoding="utf-8")
            sync(partial)
            partial.rename(target)
    if accelerator.is_main_process:
        for old in _states(folder)[:-KEPT]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def load_state(accelerator: Accelerator, folder: Path) -> dict[str, Any] | None:
    """Restore model and optimizer from the newest state and return its `loop`; None if there is no state."""
    states = _states(folder)
    # Nobody writes a newer one before everyone has looked.
    accelerator.wait_for_everyone()
    if not states:
        return None
    for path in states[-1].glob("custom_checkpoint_*.pkl"):
        # accelerate unpickles these without a guard: what is more than data is refused here.
        torch.load(path, map_location="cpu", weights_only=True)
    accelerator.load_state(str(states[-1]))
    return json.loads((states[-1] / LOOP_FILE).read_text(encoding="utf-8"))


def _states(folder: Path) -> list[Path]:
    if not folder.exists():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
