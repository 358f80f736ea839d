"""A sweep whose disk is full or read-only says so with the path, loses nothing stored, and can be resumed."""

import re
import subprocess
import sys
from pathlib import Path

from evals.records import Record
from evals.store import SAMPLES, iter_records
from serve.launch import RunningServer
from tests.faults.disks import Disk, small_disk

PROBLEMS = 16


def sweep(server: RunningServer, disk: Disk) -> subprocess.CompletedProcess[str]:
    """The command, as a user gives it."""
    command = [sys.executable, "-m", "clients.cli", "eval", "sweep", "--problems", "thinkmath"]
    command += ["--limit", str(PROBLEMS), "--budgets", "0,4,max", "--sampling", "greedy"]
    command += ["--max-tokens", "200", "--base-url", server.base_url, "--out", str(disk.folder / "run")]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def stored(disk: Disk) -> list[Record]:
    return list(iter_records(disk.folder / "run"))


def told(done: subprocess.CompletedProcess[str], reason: str, disk: Disk) -> None:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert f"{reason}: '{disk.folder}/run/" in done.stderr
    assert "what was drawn is stored; resume with: thinkdial eval sweep" in done.stderr


def test_a_full_and_a_read_only_disk(server: RunningServer, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "40k") as disk:
        first = sweep(server, disk)
        told(first, "No space left on device", disk)
        before = (disk.folder / "run" / SAMPLES).read_bytes()
        assert before.endswith(b"\n"), "half a line was left"
        kept = stored(disk)
        assert kept
        counted = [int(count) for count in re.findall(r"(\d+) replies", first.stderr)]
        assert 0 < max(counted) <= len(kept), "a reply was counted as done that is not there"

        disk.remount("ro")
        told(sweep(server, disk), "Read-only file system", disk)
        disk.remount("rw,size=8m")
        done = sweep(server, disk)
        assert done.returncode == 0, done.stderr
        assert (disk.folder / "run" / SAMPLES).read_bytes().startswith(before)
        keys = [record.key for record in stored(disk)]
        assert len(set(keys)) == len(keys) > len(kept)
        assert sum(record.kind == "trace" for record in stored(disk)) == PROBLEMS
