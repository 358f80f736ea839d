"""A run killed at every boundary of its stages and inside every kind of save; full and read-only disks."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.faults import stage_runs
from tests.faults.disks import fill, small_disk
from trainer.progress.records import Records, read_records

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

MOMENTS = [
    ("os.mkdir", "init.partial"),  # the run has begun
    ("os.rename", "init.partial"),  # the first model is written, and not yet in its place
    ("os.mkdir", "/cold_start"),
    ("open", "state/checkpoint-2/trainer_state.json"),  # inside the save of a training state
    ("open", "state/checkpoint-3/whole"),  # all of it is written, and not yet sealed
    ("os.rename", "cold_start/checkpoint.partial"),  # inside the save of a result
    ("shutil.rmtree", "cold_start/state"),  # the result is there, and so is what it was made from
    ("os.mkdir", "/reasoning_rl"),
    ("os.rename", "best.next.partial"),
    ("os.mkdir", "step-00000001.partial"),  # so the stage begins anew, and its best is replaced
    ("shutil.rmtree", "reasoning_rl/best"),
    ("open", "step-00000002.partial/loop.json"),
    ("os.rename", "step-00000003.partial"),
    ("os.rename", "reasoning_rl/checkpoint.partial"),
]
STAGES = ("cold_start", "reasoning_rl")


def learnt(folder: Path) -> list[dict[str, Any]]:
    """The records of a stage, times aside."""
    records = read_records(folder / "metrics.jsonl")
    timed = ("seconds", "per_second", "sync/")
    return [{k: v for k, v in record.items() if not any(t in k for t in timed)} for record in records]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(stage_runs.RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody touched."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert stage_runs.run(recipe, out) == 0, stage_runs.said(recipe)
    return out


def assert_same(one: Path, other: Path) -> None:
    for stage in STAGES:
        assert learnt(one / stage) == learnt(other / stage)
        expected, actual = (load_file(out / stage / "checkpoint/model.safetensors") for out in (one, other))
        assert expected.keys() == actual.keys()
        for name, weights in expected.items():
            assert torch.equal(weights, actual[name]), f"{stage}: {name}"


def test_killed_at_every_boundary_and_inside_saves(recipe: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    for moment in MOMENTS:
        assert stage_runs.run(recipe, out, moment) == -signal.SIGKILL, stage_runs.said(recipe)
        for stage in STAGES:
            # A step that a state was saved behind is never lost again.
            states = [path.parent for path in (out / stage / "state").glob("checkpoint-*/whole")]
            states += list((out / stage / "state").glob("step-????????"))
            saved = max((int(path.name.rpartition("-")[2]) for path in states), default=0)
            records = read_records(out / stage / "metrics.jsonl")
            assert {record["step"] for record in records} >= set(range(1, saved + 1))
    assert stage_runs.run(recipe, out) == 0, stage_runs.said(recipe)
    assert_same(whole, out)


def fill_disk(out: Path) -> None:
    fill(out.parent)


def test_a_full_disk(recipe: Path, whole: Path, tmp_path: Path) -> None:
    """A save fails with its path; what was saved before is whole, and the same command goes on from it."""
    moments = [
        ("open", "state/checkpoint-2/trainer_state.json"),
        ("os.mkdir", "state/checkpoint-3"),
        ("os.mkdir", "cold_start/checkpoint.partial"),
        ("os.mkdir", "step-00000002.partial"),
        ("os.mkdir", "reasoning_rl/checkpoint.partial"),
    ]
    with small_disk(tmp_path / "disk", "64m") as disk:
        out = disk.folder / "run"
        for moment in moments:
            assert stage_runs.run(recipe, out, moment, fill_disk) == 1, stage_runs.said(recipe)
            said = stage_runs.said(recipe)
            assert "Traceback" not in said
            assert f"{out}/" in said.partition("thinkdial train: ")[2].partition(";")[0]
            assert f"the same command goes on from the last checkpoint in {out}" in said
            disk.clear()
        assert stage_runs.run(recipe, out) == 0, stage_runs.said(recipe)
        assert_same(whole, out)


def test_metrics_on_a_full_disk(tmp_path: Path) -> None:
    """A record that could not be written is told, with the file; those before it are whole."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        path = disk.folder / "metrics.jsonl"
        records, written = Records(path, 0), 0
        try:
            while True:
                records.append({"step": written + 1, "note": "x" * 1000})
                written += 1
        except OSError as error:
            told = str(error)
        assert told.endswith(f"No space left on device: '{path}'")
        with pytest.raises(OSError, match="No space left"):
            records.close()
        assert [record["step"] for record in read_records(path)] == list(range(1, written + 1))
        disk.remount("size=1m")
        again = Records(path, written)
        again.append({"step": written + 1})
        again.close()
        lines = path.read_bytes().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(1, written + 2))


def test_a_read_only_folder(recipe: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        (disk.folder / "run").mkdir()
        disk.remount("ro")
        assert stage_runs.run(recipe, disk.folder / "run") == 1, stage_runs.said(recipe)
        assert "Traceback" not in stage_runs.said(recipe)
        assert f"Read-only file system: '{disk.folder}/run/" in stage_runs.said(recipe)
