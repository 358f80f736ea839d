"""Experiment trackers beside `metrics.jsonl`: each gets every step once, under the same names."""

import contextlib
import importlib.util
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trainer.recipe.recipe import Logging


@dataclass(frozen=True, slots=True)
class RunName:
    """What a tracker is told of a stage.

    name: of this stage of this run alone, the same in every process that resumes it. config: the stage's
    settings, as JSON.
    """

    project: str
    name: str
    folder: Path
    config: dict[str, Any] = field(default_factory=dict)


class Tracker(Protocol):
    """Where metrics go beside the file."""

    last_step: int
    """The last step it holds from an earlier process; -1 for a run it does not know."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take over the metrics of a step."""
        ...

    def close(self) -> None:
        """End the run and wait until everything is stored or sent."""
        ...


def check_trackers(names: Sequence[str]) -> None:
    """Raise ValueError for the trackers whose package is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"logging.trackers: {', '.join(missing)} is wrong because it is not installed; "
            f"run `pip install {' '.join(missing)}` or leave it out (metrics.jsonl is always written)"
        )


def open_trackers(settings: Logging, run: RunName, records: Sequence[Mapping[str, Any]]) -> list[Tracker]:
    """The recipe's trackers, each brought up to date with the `records` that `metrics.jsonl` holds.

    A killed run may have left a tracker behind its file (what was not sent yet is lost) or ahead of its
    checkpoint (the steps come again, with the same values). So a tracker gets what lies after its last step.

    Raises:
        ValueError: a package is not installed.
    """
    check_trackers(settings.trackers)
    trackers: list[Tracker] = [TRACKERS[name](run) for name in settings.trackers]
    for tracker in trackers:
        for record in records:
            send(tracker, record)
    return trackers


def send(tracker: Tracker, record: Mapping[str, Any]) -> None:
    """Give a record's finite values to a tracker, unless it had the step from an earlier process."""
    step = record["step"]
    if step > tracker.last_step:
        metrics = {name: value for name, value in record.items() if name != "step" and value is not None}
        tracker.log(step, {name: value for name, value in metrics.items() if math.isfinite(value)})


class TensorBoard:
    """Event files in the stage's folder, written anew from the records when a run is resumed."""

    def __init__(self, run: RunName) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run.folder / "tensorboard"
        if folder.exists():
            shutil.rmtree(folder)
        self.last_step = -1
        self._writer = SummaryWriter(str(folder))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class Trackio:
    """A database on this machine (`TRACKIO_DIR`), or a Space if `TRACKIO_SPACE_ID` names one."""

    def __init__(self, run: RunName) -> None:
        import trackio

        # It talks on standard output, which belongs to the command's result.
        with contextlib.redirect_stdout(sys.stderr):
            self._run = trackio.init(
                project=run.project,
                name=run.name,
                config=run.config,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        # No public member says where a resumed run stands.
        self.last_step = self._run._next_step - 1

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        import trackio

        with contextlib.redirect_stdout(sys.stderr):
            trackio.finish()


class WandB:
    """Weights & Biases; `WANDB_MODE=offline` keeps it on this machine."""

    def __init__(self, run: RunName) -> None:
        import wandb

        self._run = wandb.init(
            project=run.project,
            name=run.name,
            id=run.name.replace("/", "-"),
            resume="allow",
            config=run.config,
            dir=str(run.folder),
        )
        self.last_step = self._run.starting_step - 1

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, type[TensorBoard] | type[Trackio] | type[WandB]] = {
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": WandB,
}
