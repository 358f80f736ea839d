"""Experiment trackers beside `metrics.jsonl`: each gets the same names at the same steps."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from trainer.recipe.recipe import Logging


class Tracker(Protocol):
    """Where metrics go beside the file."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def check_trackers(names: Sequence[str]) -> None:
    """Raise ValueError for the trackers whose package is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"logging.trackers: {missing!r} is wrong because it is not installed; "
            f"run `pip install {' '.join(missing)}`, or leave it out (metrics.jsonl is always written)"
        )


def open_trackers(
    settings: Logging, folder: Path, name: str, config: Mapping[str, Any], resume_step: int
) -> list[Tracker]:
    """The trackers the recipe asks for; a run is called `name` and goes on after `resume_step`."""
    check_trackers(settings.trackers)
    return [
        _OPENERS[tracker](settings.project, folder, name, dict(config), resume_step)
        for tracker in settings.trackers
    ]


class TensorBoard:
    """Event files in the stage's folder."""

    def __init__(
        self, project: str, folder: Path, name: str, config: dict[str, Any], resume_step: int
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_step + 1)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class Trackio:
    """A local database (`TRACKIO_DIR`)."""

    def __init__(
        self, project: str, folder: Path, name: str, config: dict[str, Any], resume_step: int
    ) -> None:
        import trackio

        self._run = trackio.init(
            project=project,
            name=name,
            config=config,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        self._run.finish()


class WandB:
    """Weights & Biases."""

    def __init__(
        self, project: str, folder: Path, name: str, config: dict[str, Any], resume_step: int
    ) -> None:
        import wandb

        self._run = wandb.init(
            project=project,
            name=name,
            id=name.replace("/", "-"),
            resume="allow",
            config=config,
            dir=str(folder),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        self._run.finish()


_OPENERS = {"tensorboard": TensorBoard, "trackio": Trackio, "wandb": WandB}
