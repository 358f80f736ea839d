"""A sweep killed at twenty random moments, and resumed each time, is the sweep that nobody touched."""

import multiprocessing
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from evals.records import Record
from evals.store import SAMPLES, iter_records
from evals.summary.summarise import summarise
from evals.sweep.presets import GREEDY
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings
from serve.launch import RunningServer

pytestmark = pytest.mark.slow

KILLS = 20
PROBLEMS = 24
BUDGETS = (0, 1, 3, 6, 12, 24, 48, "max")


def settings(out: Path) -> SweepSettings:
    # Without log probabilities: a server's last digits depend on what else is in its batch.
    return SweepSettings(
        "thinkmath",
        out,
        BUDGETS,
        limit=PROBLEMS,
        sampling=GREEDY,
        max_tokens=220,
        concurrency=8,
        crosscheck=0.1,
        logprobs="off",
    )


@contextmanager
def sweeping(out: Path, base_url: str) -> Iterator[ForkServerProcess]:
    """A process that sweeps. It is forked from one that has the imports done, so that it starts at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["evals.sweep.run"])
    process = context.Process(target=run_sweep, args=(settings(out), base_url))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def lines(out: Path) -> int:
    path = out / SAMPLES
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def replies(out: Path) -> dict[str, Record]:
    """Every record, without what time and place it was drawn at."""
    found = [replace(record, seconds=0.0) for record in iter_records(out)]
    assert len({record.key for record in found}) == len(found)
    return {record.key: record for record in found}


def numbers(out: Path) -> dict[str, Any]:
    """The summary, without how long it took."""
    summary = summarise(out)
    for name in ("seconds", "wall_seconds", "tokens_per_second"):
        del summary["totals"][name]
    return summary


def test_twenty_kills(server: RunningServer, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_sweep(settings(whole), server.base_url)
    total = lines(whole)
    rng = random.Random(0)
    survived: list[bytes] = []
    for kill in range(KILLS):
        # Where the file has grown by a random number of lines, and a random moment later.
        goal = lines(killed) + rng.randrange((total - lines(killed)) // (KILLS - kill + 1) + 1)
        with sweeping(killed, server.base_url) as process:
            wait_for(lambda goal=goal: lines(killed) >= goal or not process.is_alive())
            time.sleep(rng.random() * 0.02)
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
        kept = [line for line in (killed / SAMPLES).read_bytes().splitlines(True) if line.endswith(b"\n")]
        assert kept[: len(survived)] == survived
        survived = kept
    assert len(survived) < total
    resumed = run_sweep(settings(killed), server.base_url)
    assert resumed.replies == total - len(survived)
    assert replies(killed) == replies(whole)
    assert numbers(killed) == numbers(whole)
