"""A sweep whose disk is full or read-only says so with the path, loses nothing stored, and can be resumed."""

import json
import subprocess
import sys
from pathlib import Path

from evals.account import ACCOUNT
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


def told(done: subprocess.CompletedProcess[str], reason: str, path: Path) -> None:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert f"{reason}: '{path}'" in done.stderr
    assert "what was drawn is stored; resume with: thinkdial eval sweep" in done.stderr


def test_a_full_and_a_read_only_disk(server: RunningServer, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        told(sweep(server, disk), "No space left on device", disk.folder / "run" / SAMPLES)
        before = (disk.folder / "run" / SAMPLES).read_bytes()
        assert before.endswith(b"\n"), "half a line was left"
        kept = stored(disk)
        assert kept
        # What was counted as done is there.
        sessions = json.loads((disk.folder / "run" / ACCOUNT).read_text("utf-8"))["sessions"]
        assert sum(session["replies"] for session in sessions) <= len(kept)

        disk.remount("ro")
        told(sweep(server, disk), "Read-only file system", disk.folder / "run" / "lock")
        disk.remount("rw,size=8m")
        done = sweep(server, disk)
        assert done.returncode == 0, done.stderr
        assert (disk.folder / "run" / SAMPLES).read_bytes().startswith(before)
        keys = [record.key for record in stored(disk)]
        assert len(set(keys)) == len(keys) > len(kept)
        assert sum(record.kind == "trace" for record in stored(disk)) == PROBLEMS
