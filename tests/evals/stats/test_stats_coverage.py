"""Simulated coverage of the intervals in their hard settings; `evals.bench.coverage` has the long study."""

import numpy as np
import pytest

from evals.bench.coverage import Case, cases, coverage
from evals.stats import wilson_interval

# What one trial costs decides how many there are.
_RUNS = {"share": 400, "these": 400, "pass": 300, "answer": 400, "paired": 400, "AUROC": 300, "curve, p": 400}
_SLOW = 150


def quick() -> list[Case]:
    """The cases with 30 questions; of the curves those with 8 samples that are level or fall."""
    chosen = [case for case in cases() if "n=30" in case.setting]
    return [
        case for case in chosen if not any(word in case.setting for word in ("K=1 ", "rising", "level 0.95"))
    ]


@pytest.mark.parametrize("case", quick(), ids=lambda case: f"{case.interval}: {case.setting}")
def test_intervals_hold_the_truth(case: Case) -> None:
    runs = next((runs for name, runs in _RUNS.items() if case.interval.startswith(name)), _SLOW)
    row = coverage(case, runs, seed=1)
    assert row.holds, f"{row.coverage:.3f} +- {row.error:.3f} of {row.runs}"


def test_wrong_intervals_are_found_out() -> None:
    """Samples of a question taken as independent, and a share's normal interval, do not pass."""

    def independent(rng: np.random.Generator) -> bool:
        p = rng.beta(0.35, 0.35, 30)
        low, high = wilson_interval(int(rng.binomial(8, p).sum()), 240)
        return low <= 0.5 <= high

    def normal(rng: np.random.Generator) -> bool:
        p = rng.binomial(30, 0.05) / 30
        return abs(p - 0.05) <= 1.96 * np.sqrt(p * (1 - p) / 30)

    for trial in (independent, normal):
        assert not coverage(Case(trial.__name__, "n=30", trial), 400).holds
    assert not coverage(Case("too wide", "n=30", lambda rng: True), 400).holds
