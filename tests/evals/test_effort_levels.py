"""The benchmark of effort levels: which problems are held out, and when a promise counts as kept."""

from pathlib import Path

import pytest
from made_runs import direct, no_think, trace, write

from evals.bench.effort_levels import Kept, kept, peak_budget, table, unseen
from evals.budgets import Budget
from evals.problems import load
from evals.summary.outcomes import Outcome, outcomes
from evals.summary.replies import read_run
from serve.profile import read_profile
from tests.serve.made_profile import CURVE, document, row, write_profile


def test_held_out_problems_are_others(tmp_path: Path) -> None:
    seen = load("thinkmath", limit=10)
    run = write(tmp_path / "run", [trace(problem.id, 3) for problem in seen[2:]])
    left = unseen("thinkmath", run, 5)
    assert not {problem.id for problem in left} & {problem.id for problem in seen[2:]}
    assert len(left) == 5
    few = tmp_path / "few.jsonl"
    few.write_text('{"id": "a", "problem": "1+1?", "answer": "2"}\n')
    with pytest.raises(ValueError, match="has 1 problems beside those of"):
        unseen(str(few), run, 5)


def replies(directory: Path, right: dict[Budget, int], total: int = 100) -> dict[Budget, list[Outcome]]:
    """The first so many of the problems right at each budget."""
    records = [
        (no_think if budget == 0 else direct)(
            f"p{number:03}", *([budget] if budget else []), answer="7" if number < n else "1"
        )
        for budget, n in right.items()
        for number in range(total)
    ]
    write(directory, records, {"mode": "direct"}, budgets=tuple(right))
    found: dict[Budget, list[Outcome]] = {budget: [] for budget in right}
    for outcome in outcomes(read_run(directory)):
        found[outcome.budget].append(outcome)
    return found


def test_shares_of_the_peak_are_paired(tmp_path: Path) -> None:
    levels = document()["recommended"]
    for (level, told), share in zip(levels.items(), (0.5, 0.9, 0.97, 0.99, 0.995, None), strict=True):
        told |= {"share": share, "accuracy": 0.5, "level": level}
    levels["minimal"]["budget"] = 0
    profile = read_profile(write_profile(tmp_path / "profile.json", recommended=levels))
    peak = replies(tmp_path / "peak", {"max": 80})["max"]
    by_level = replies(tmp_path / "levels", {"minimal": 48, "low": 72, "medium": 70, "high": 80})
    rows = {row.level: row for row in kept(profile, by_level, peak)}
    low = rows["low"]
    assert (low.budget, low.promised, low.accuracy) == (10, 0.9, 0.72)
    assert low.share == pytest.approx(0.9)
    # Of the 80 that are right at the peak 8 are wrong at the level: about 0.9 +- 1.98 sqrt(0.9 * 0.1 / 80).
    assert 0.82 < low.low < 0.85 < 0.95 < low.high < 0.98
    # The same problems are right, which does not prove that the level loses nothing.
    assert 0.95 < rows["high"].low < rows["high"].share == 1 < rows["high"].high
    assert {level for level, row in rows.items() if row.hits(0.03)} == {"minimal", "low", "high"}
    assert rows["minimal"].smallest  # more than promised at the smallest budget is no miss
    assert not rows["medium"].hits(0.03)
    lines = table(list(rows.values()), 0.03).splitlines()
    assert [line.endswith("missed") for line in lines] == [False, False, False, True, False]
    assert "87.5 % [" in lines[3]


def test_less_than_promised_is_a_miss_at_the_smallest_budget_too() -> None:
    row = Kept("low", 0, 0.9, 0.8, 0.7, 0.9, 0.8, 0.9, 3.0, smallest=True)
    assert not row.hits(0.03)
    assert row.hits(0.11)


def test_a_peak_of_nothing_has_no_shares(tmp_path: Path) -> None:
    found = replies(tmp_path / "run", {"low": 0, "high": 0})
    profile = read_profile(write_profile(tmp_path / "profile.json"))
    levels = profile.document["recommended"]
    levels["low"] |= {"share": 0.9, "accuracy": 0.5}
    with pytest.raises(ValueError, match="none of the held-out problems is right"):
        kept(profile, {"low": found["low"]}, found["high"])


def test_the_peak_is_where_the_curve_is_highest(tmp_path: Path) -> None:
    falls = [*CURVE[:4], row("max", 0.85, 25)]
    for curve, budget in ((CURVE, "max"), (falls, 32), (CURVE[:4], 32)):
        assert peak_budget(read_profile(write_profile(tmp_path / "p.json", curve=curve)).overall) == budget
