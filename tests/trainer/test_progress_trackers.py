"""Trackers get every step of metrics.jsonl once, across kills and resumes, without a word to the network."""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.context import StageContext
from trainer.progress import Progress
from trainer.progress.trackers import check_trackers
from trainer.recipe import Recipe


def context_in(folder: Path, trackers: list[str]) -> StageContext:
    stage = {"kind": "cold_start", "optimizer": {"adamw_lr": 0.1}, "tokens": 1, "batch_tokens": 1}
    logging = {"trackers": trackers, "project": "tests"}
    recipe = Recipe.model_validate({"model": {"path": "unused"}, "logging": logging, "stages": [stage]})
    run = folder / "run"
    return StageContext(recipe, recipe.stages[0], 0, run / "init", run, run / "cold_start")


def in_a_process(folder: Path, work: Callable[[], None], *, killed: bool = False) -> None:
    """Run `work` in a process of its own that must not open a connection nor print.

    A connection whose refusal is caught counts too, so it is written down.
    """

    def child() -> None:
        def refuse(self: socket.socket, address: object) -> NoReturn:
            (folder / "network").write_text(repr(address))
            raise OSError(f"a connection to {address}")

        socket.socket.connect = refuse  # type: ignore[method-assign]
        os.environ["TRACKIO_DIR"] = str(folder / "trackio")
        # It is read at the import, which the parent may have done for another folder.
        for name in [name for name in sys.modules if name.split(".")[0] == "trackio"]:
            del sys.modules[name]
        sys.stdout = (folder / "stdout").open("w")
        work()
        sys.stdout.flush()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == (-9 if killed else 0)
    assert not (folder / "network").exists(), (folder / "network").read_text()
    assert (folder / "stdout").read_text() == ""


def log(folder: Path, first: int, last: int) -> Progress:
    progress = Progress(context_in(folder, ["tensorboard", "trackio"]), total_steps=20, resume_step=first - 1)
    for step in range(first, last + 1):
        metrics = {"loss": step / 10, "reward/total": float(step), "kl": float("nan")}
        progress.log(step, metrics, tokens=5)
    return progress


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run killed at step 12, resumed from 8 and finished at 20."""
    folder = tmp_path_factory.mktemp("trackers")

    def begin() -> None:
        log(folder, 1, 12)
        os.kill(os.getpid(), 9)

    in_a_process(folder, begin, killed=True)
    in_a_process(folder, lambda: log(folder, 9, 20).close())
    return folder


def test_tensorboard_has_each_step_once(finished: Path) -> None:
    events = EventAccumulator(str(finished / "run" / "cold_start" / "tensorboard"))
    events.Reload()
    assert [(event.step, round(event.value, 4)) for event in events.Scalars("loss")] == [
        (step, step / 10) for step in range(1, 21)
    ]
    assert events.Scalars("tokens")[-1].value == 100
    assert "reward/total" in events.Tags()["scalars"]
    assert "kl" not in events.Tags()["scalars"], "it was never finite"


def test_trackio_has_each_step_once(finished: Path) -> None:
    def look() -> None:
        from trackio import Api
        from trackio.sqlite_storage import SQLiteStorage

        (run,) = Api().runs("tests")
        logs = SQLiteStorage.get_logs("tests", run.name)
        values = [(each["step"], each["loss"], each["reward/total"]) for each in logs]
        assert values == [(step, step / 10, float(step)) for step in range(1, 21)]

    in_a_process(finished, look)


def test_a_tracker_that_is_not_installed_is_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"logging\.trackers: wandb is wrong .*pip install wandb"):
        Progress(context_in(tmp_path, ["tensorboard", "wandb"]), total_steps=1)
    assert not list(tmp_path.iterdir())
    check_trackers(["tensorboard", "trackio"])
