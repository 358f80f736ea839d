"""Run benchmarks one after another, each once for a commit, and gather what they leave in one JSON.

The folder holds `NAME/NAME.json` and what else a benchmark writes, `NAME/log.txt`, `NAME/done.json`, and
`bench.json`.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from serve.bench.results import machine
from serve.processes import end_with_parent
from trainer.benchmarks.plan import Benchmark

RESULTS = "bench.json"
DONE = "done.json"
ROOT = Path(__file__).parents[2]
"""Where the rooms lie: the repository, or the folder that they are installed in."""
LOOK_SECONDS = 0.5
"""How long the machine is watched before a benchmark; `busy` is the share of its cores that others took."""
Tell = Callable[[str], None]


def commit() -> str:
    """The commit that is measured, with `+changes` if files differ from it; without git, the version."""
    if not (ROOT / ".git").exists():
        return f"version {version('thinkdial')}"
    found = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--match=", "--dirty=+changes"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip()


def run_benchmarks(
    benchmarks: Sequence[Benchmark], out: Path, *, commit: str, again: bool, tell: Tell
) -> dict[str, Any]:
    """Run those that this commit has not measured, and write `bench.json` of all that lie in the folder.

    again: run them whatever has been measured. tell: is given a line on progress now and then.
    A benchmark that fails is told with its status, and the next one is run.
    """
    for place, benchmark in enumerate(benchmarks, start=1):
        done = read_done(out, benchmark)
        head = f"{place}/{len(benchmarks)} {benchmark.name}"
        line = benchmark.line(out / benchmark.name)
        # Changes without a commit have no name to know them by.
        nameless = commit.endswith("+changes")
        known = None if done is None or again or nameless or done["status"] else done
        if known is not None and (known["commit"], known["command"]) == (commit, line):
            tell(f"{head}: measured before, in {known['seconds']:.0f} s")
            continue
        tell(f"{head}, about {benchmark.minutes:g} minutes on two quiet cores: {line}")
        status = run_one(benchmark, out, commit)
        tell(f"{head}: " + ("measured" if status == 0 else f"ended with status {status}; see log.txt"))
        gather(out)
    return gather(out)


def run_one(benchmark: Benchmark, out: Path, commit: str) -> int:
    """Run a benchmark and note how it went; returns its exit status."""
    folder = out / benchmark.name
    # Benchmarks that draw curves would go on with the runs that lie there, and measure nothing.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before = machine()
    # The load average still holds the benchmark before this one.
    busy = psutil.cpu_percent(interval=LOOK_SECONDS) / 100
    started = time.monotonic()
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        status = subprocess.run(
            [sys.executable, *benchmark.words(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,
        ).returncode
    done = {
        "room": benchmark.room,
        "commit": commit,
        "command": benchmark.line(folder),
        "status": status,
        "seconds": round(time.monotonic() - started, 1),
        "ended_at": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "busy": busy,
        "machine": before,
    }
    (folder / DONE).write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
    return status


def read_done(out: Path, benchmark: Benchmark) -> dict[str, Any] | None:
    """How the benchmark went the last time; None if it has not been run to its end."""
    path = out / benchmark.name / DONE
    if not path.is_file():
        return None
    done: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return done


def gather(out: Path) -> dict[str, Any]:
    """Write `bench.json`: for every benchmark in the folder how it went, and its result if it left one."""
    found = {}
    for path in sorted(out.glob(f"*/{DONE}")):
        name = path.parent.name
        result = path.parent / f"{name}.json"
        found[name] = {
            **json.loads(path.read_text("utf-8")),
            "result": json.loads(result.read_text("utf-8")) if result.is_file() else None,
        }
    gathered = {"benchmarks": found}
    (out / RESULTS).write_text(json.dumps(gathered, indent=1) + "\n", encoding="utf-8")
    return gathered
