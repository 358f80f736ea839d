"""Hostile answers: each gets a verdict within two seconds of work, and none is run as code."""

import resource
import time
from pathlib import Path

import pytest

from evals.bench.hostile import GROUPS, hostile_pairs
from evals.grading import Verdict, grade

LIMIT_SECONDS = 2.0
# What other processes may take, on a machine that runs many tests at once.
BUSY_SECONDS = 8.0
# `python -m evals.bench.grading --hostile` tries every placing.
PLACINGS = ("answer", "differently", "in reverse", "bare")
_MOST_GROWTH_KIB = 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize("placing", PLACINGS)
@pytest.mark.parametrize("group", GROUPS)
def test_every_input_gets_a_verdict_in_time(group: str, placing: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "run"
    pairs = [
        pair
        for pair in hostile_pairs(sentinel)
        if pair[0].startswith(f"{group}: ") and pair[0].endswith(f"({placing})")
    ]
    assert len(pairs) == len(GROUPS[group])
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, gold, response in pairs:
        start, cpu_start = time.perf_counter(), time.process_time()
        found = grade(gold, response)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        assert isinstance(found.verdict, Verdict)
        assert cpu_seconds < LIMIT_SECONDS, f"{name}: {cpu_seconds:.1f} s of work"
        assert seconds < LIMIT_SECONDS + BUSY_SECONDS, f"{name}: {seconds:.1f} s"
        assert not sentinel.exists(), f"{name} was run"
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before
    assert growth < _MOST_GROWTH_KIB, "memory is not held"
