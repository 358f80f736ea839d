"""Sampling until intervals are narrow: the rule on simulated runs, and rounds on the real server."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evals.adaptive import Adaptive, Precision, can_samples_help, precision, run_adaptive, verdict
from evals.cli import main
from evals.stats import clustered_proportion
from evals.store import SAMPLES, read_manifest
from evals.summary.summarise import summarise
from evals.sweep.presets import GREEDY
from evals.sweep.settings import SweepSettings
from serve.launch import RunningServer

MAX_TOKENS = 220


def simulated(
    rng: np.random.Generator, accuracy: float, spread: float, problems: int, samples: int
) -> np.ndarray:
    """Ones and zeros [problems, samples]; spread is the intra-class correlation of a beta-binomial."""
    strength = 1 / spread - 1
    rates = rng.beta(accuracy * strength, (1 - accuracy) * strength, size=problems)
    return (rng.random((problems, samples)) < rates[:, None]).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.05, 0.5, 0.95])
@pytest.mark.parametrize(("samples", "width"), [(1, 0.1), (4, 0.1)])
def test_intervals_still_cover_after_stopping(accuracy: float, samples: int, width: float) -> None:
    """Rounds of the rule on 1,500 simulated runs: the last interval covers the truth."""
    rng = np.random.default_rng(int(accuracy * 100) + samples)
    covered = stopped_early = 0
    runs = 1500
    for _ in range(runs):
        drawn = simulated(rng, accuracy, 0.2, 1024, samples)
        problems = 32
        while True:
            estimate = clustered_proportion({str(i): list(row) for i, row in enumerate(drawn[:problems])})
            assert estimate is not None
            if estimate.high - estimate.low < width or problems == len(drawn):
                break
            problems *= 2
        covered += estimate.low <= accuracy <= estimate.high
        stopped_early += problems < len(drawn)
    assert stopped_early > 0.9 * runs
    assert covered / runs >= 0.935


def test_the_floor_is_what_samples_cannot_beat() -> None:
    """The predicted width with samples without end is that of a run with very many samples."""
    rng = np.random.default_rng(0)
    for spread in (0.1, 0.5):
        floors = []
        for _ in range(200):
            few = simulated(rng, 0.6, spread, 60, 4)
            floors.append(precision(8, {str(i): list(row) for i, row in enumerate(few)}, 0.1).floor)
        expected = 2 * 1.96 * math.sqrt(0.6 * 0.4 * spread / 60)
        assert np.mean(floors) == pytest.approx(expected, rel=0.1)


def test_problems_that_would_do() -> None:
    graded = {str(i): [float(i % 2)] for i in range(100)}
    point = precision(8, graded, 0.05)
    assert point.floor == 0.0
    enough = {str(i): [float(i % 2)] for i in range(point.problems)}
    assert precision(8, enough, 0.05).width == pytest.approx(0.05, rel=0.03)
    with pytest.raises(ValueError, match="budgets: 8 has no reply"):
        precision(8, {}, 0.1)


def test_words() -> None:
    narrow, wide = Precision(0, 0.04, 0.0, 30), Precision(8, 0.2, 0.15, 400)
    noisy = Precision("max", 0.2, 0.02, 400)
    assert verdict([narrow], 0.05, more_samples=True) == ["every 95 % interval is narrower than 0.05"]
    (line,) = verdict([narrow, wide], 0.05, more_samples=True)
    assert "budget 8: the 95 % interval is 0.200 wide, 0.05 was asked; more samples cannot narrow it" in line
    assert "about 400 problems would" in line
    assert "--max-samples" in verdict([noisy], 0.05, more_samples=True)[0]
    assert "greedy replies cannot be sampled again" in verdict([noisy], 0.05, more_samples=False)[0]
    assert can_samples_help([narrow, noisy], 0.05)
    assert not can_samples_help([narrow, wide], 0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adaptive(0.0), "until_width: 0.0"),
        (lambda: Adaptive(1.0), "until_width: 1.0"),
        (lambda: Adaptive(0.1, 0), "max_samples: 0"),
        (lambda: Adaptive(0.1, 1, 0), "max_problems: 0"),
    ],
)
def test_wrong_values(make: Callable[[], Adaptive], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_samples_of_the_first_round_are_not_cut_silently(tmp_path: Path) -> None:
    settings = SweepSettings("thinkmath", tmp_path, (0, 4), samples=32)
    with pytest.raises(ValueError, match=r"samples: 32 of the first round are more than the most, 16"):
        run_adaptive(settings, Adaptive(0.1), "http://127.0.0.1:9")


@pytest.mark.slow
def test_rounds_on_the_real_server(server: RunningServer, tmp_path: Path) -> None:
    """Problems double until the intervals are narrow or all are asked; the same call again draws nothing."""
    settings = SweepSettings(
        "thinkmath", tmp_path, (0, "max"), limit=4, sampling=GREEDY, max_tokens=MAX_TOKENS
    )
    said: list[str] = []
    result = run_adaptive(settings, Adaptive(0.25, max_problems=20), server.base_url, say=said.append)
    assert [line.split(" problems")[0] for line in said[:3]] == ["4", "8", "16"]
    assert read_manifest(tmp_path)["plan"]["samples"] == 1
    points = summarise(tmp_path)["points"]
    assert all(point["missing"] == 0 for point in points)
    if "narrower" in said[-1]:
        assert all(point["high"] - point["low"] < 0.25 for point in points)
    else:
        assert "greedy replies cannot be sampled again" in said[-1]
        assert len(read_manifest(tmp_path)["plan"]["problems"]) == 20
    stored = (tmp_path / SAMPLES).read_bytes()
    again: list[str] = []
    repeated = run_adaptive(settings, Adaptive(0.25, max_problems=20), server.base_url, say=again.append)
    assert (repeated.replies, again) == (0, said)
    assert (tmp_path / SAMPLES).read_bytes() == stored
    assert result.replies == stored.count(b"\n")


def test_samples_grow_when_problems_cannot(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "--problems", "thinkmath", "--limit", "4", "--budgets", "0", "--out", str(tmp_path)]
    command += ["--base-url", server.base_url, "--max-tokens", str(MAX_TOKENS)]
    assert main([*command, "--until-width", "0.05", "--max-samples", "4", "--max-problems", "4"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("4 problems a set x 1 samples: widest 95 % interval ")
    assert "\n4 problems a set x 2 samples: " in said
    assert "\nbudget 0: the 95 % interval is " in said
    assert str(tmp_path / "summary.json") in said
