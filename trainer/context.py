"""What a stage is told when it runs."""

from dataclasses import dataclass
from pathlib import Path

from trainer.recipe import Recipe
from trainer.recipe.stages import AnyStage


@dataclass(frozen=True)
class StageContext:
    """One stage of a run; the same on every process of `accelerate launch`.

    recipe: the whole recipe. stage: the stage to run. seed: `Recipe.seed_of` the stage.
    start: folder of the checkpoint this stage begins with, on this machine's disk.
    run: the run's folder; other stages' folders are `run / name`.
    folder: this stage's own, which it may have left unfinished: training state, metrics, traces.
    The result goes to `checkpoint`, by `trainer.checkpoints.save_checkpoint`, and ends the stage.
    """

    recipe: Recipe
    stage: AnyStage
    seed: int
    start: Path
    run: Path
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """Where the stage leaves its result; the stage is finished when this folder exists."""
        return self.folder / "checkpoint"
