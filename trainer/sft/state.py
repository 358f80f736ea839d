"""A stage's training state on disk: which of transformers' checkpoint folders are whole."""

import shutil
from pathlib import Path

from accelerate import PartialState
from transformers import TrainerState

from trainer.saving import sync

SEAL = "whole"
"""A file written into a checkpoint folder when all else is on disk: a kill may leave the folder half."""


def seal(folder: Path) -> None:
    """Mark a checkpoint folder as whole, once its files are on disk."""
    sync(folder)
    (folder / SEAL).touch()


def drop_halves(folder: Path) -> None:
    """Remove checkpoint folders that are not whole, so that none of them counts as one to be kept."""
    state = PartialState()
    if state.is_main_process:
        for checkpoint in folder.glob("checkpoint-*"):
            if not (checkpoint / SEAL).exists():
                shutil.rmtree(checkpoint)
    state.wait_for_everyone()


def newest_whole(folder: Path) -> Path | None:
    """The newest whole checkpoint folder in a state folder."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{SEAL}")]
    return max(whole, key=_step, default=None)


def steps_done(checkpoint: Path | None) -> int:
    """Optimizer steps behind a checkpoint folder; 0 for none."""
    if checkpoint is None:
        return 0
    return int(TrainerState.load_from_json(str(checkpoint / "trainer_state.json")).global_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
