"""Simulated coverage of the intervals in their hard settings; `evals.bench.coverage` has the long study."""

import pytest

from evals.bench.coverage import Case, cases, coverage

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


def test_a_wrong_interval_is_found_out() -> None:
    """Treating samples of a question as independent, or a share's normal interval, fails the same check."""
    narrow = Case("narrow", "two in three hold", lambda rng: bool(rng.random() < 0.8))
    wide = Case("wide", "all hold", lambda rng: True)
    assert not coverage(narrow, 500).holds
    assert not coverage(wide, 500).holds
