"""Measure whether effort levels keep their promise on problems that their profile has not seen.

    python -m evals.bench.effort_levels --profiled 1000 --held-out 1000 --out runs/bench/effort

Profiles the model on the first problems of a set (or takes a finished sweep, `--run`), serves it with that
profile, asks the held-out problems at every level as a client does, by `reasoning_effort`, and prints each
level's share of the peak accuracy on the same problems, with a paired 95 % interval. The status is 1 if a
level's share is further from its promise than `--tolerance`, unless it is more than promised at the smallest
budget there is.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from evals.budgets import Budget, parse_budgets
from evals.problems import Problem, load
from evals.profile import write_profile
from evals.stats.curve import score_step
from evals.stats.paired import difference_limits
from evals.stats.proportions import normal_quantile
from evals.store import read_manifest
from evals.summary.curve import matrix_of
from evals.summary.outcomes import Outcome, outcomes
from evals.summary.replies import read_run
from evals.sweep.presets import Sampling, sampling
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings
from serve import DEFAULT_MODEL
from serve.bench.results import Figure, write_result
from serve.launch import start_server
from serve.profile import NO_LIMIT, BudgetCurve, ThinkingProfile, read_profile

BUDGETS = "0,4,8,12,16,20,24,28,32,36,40,48,56,64,80,96,128,max"


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a level's promise.

    promised, share, low, high: shares of the peak accuracy, the last two the limits of `share`.
    accuracy: measured, `expected` by the profile. tokens: mean thinking tokens.
    """

    level: str
    budget: int | None
    promised: float
    share: float
    low: float
    high: float
    accuracy: float
    expected: float
    tokens: float
    smallest: bool

    def hits(self, tolerance: float) -> bool:
        """Whether the share is as promised; the smallest budget may give more."""
        return abs(self.share - self.promised) <= tolerance or (self.smallest and self.share > self.promised)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 if every level keeps its promise, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m evals.bench.effort_levels", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--problems", default="thinkmath")
    parser.add_argument("--profiled", type=int, default=1000, help="problems to profile on, without --run")
    parser.add_argument("--held-out", type=int, default=1000, help="problems to ask the levels on")
    parser.add_argument("--budgets", default=BUDGETS, help="of the profile, without --run")
    parser.add_argument("--run", type=Path, help="a finished sweep to profile; its problems are left out")
    parser.add_argument("--sampling", default="greedy", help="a preset of evals.sweep.presets")
    parser.add_argument("--model", default=str(DEFAULT_MODEL), help="checkpoint to serve (the shipped one)")
    parser.add_argument("--tolerance", type=float, default=0.03, help="as a share of the peak (0.03)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the profile and the runs")
    options = parser.parse_args(argv)
    drawn = sampling(options.sampling)
    options.out.mkdir(parents=True, exist_ok=True)
    run = options.run
    if run is None:
        run = options.out / "profiled"
        seen = load(options.problems, limit=options.profiled)
        settings = SweepSettings(options.problems, run, tuple(parse_budgets(options.budgets)), sampling=drawn)
        with start_server(options.model, args=["--no-profile"]) as server:
            run_sweep(settings, server.base_url, server.model, problems=seen)
    held_out = unseen(options.problems, run, options.held_out)
    checkpoint = Path(options.model) if Path(options.model).is_dir() else None
    path, _ = write_profile(run, options.out / "thinking_profile.json", checkpoint)
    profile = read_profile(path)
    with start_server(options.model, args=["--profile", str(path)]) as server:
        found = ask_levels(server.base_url, profile, held_out, options.problems, options.out, drawn)
    rows = kept(profile, *found)
    print(f"{len(held_out)} held-out problems, profile of {profile.document['problems']['n']} others: {path}")
    print(table(rows, options.tolerance))
    figures = [
        Figure(
            f"effort {row.level}: share of the peak ({100 * row.promised:.0f} % promised)",
            f"{100 * row.share:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]",
        )
        for row in rows
    ]
    write_result(options.out, "effort_levels", {"rows": [asdict(row) for row in rows]}, figures=figures)
    return 0 if all(row.hits(options.tolerance) for row in rows) else 1


def unseen(problems: str, run: Path, count: int) -> list[Problem]:
    """The first problems of a set that a run does not hold. Raises ValueError where there are too few."""
    seen: Mapping[str, str] = read_manifest(run)["plan"]["problems"]
    left = [p for p in load(problems, limit=len(seen) + count) if p.id not in seen][:count]
    if len(left) < count:
        raise ValueError(f"held-out: {problems} has {len(left)} problems beside those of {run}, not {count}")
    return left


def peak_budget(curve: BudgetCurve) -> Budget:
    """The largest budget at which the fitted curve is at its peak."""
    budget = next(point.budget for point in reversed(curve.points) if point.fitted == curve.peak)
    return NO_LIMIT if budget is None else budget


def ask_levels(
    base_url: str,
    profile: ThinkingProfile,
    held_out: Sequence[Problem],
    name: str,
    out: Path,
    drawn: Sampling,
) -> tuple[dict[Budget, list[Outcome]], list[Outcome]]:
    """Replies at each level that has a share, and at the peak's budget.

    name: of the problem set. out: folder of the two runs, which are resumed if they exist.
    """
    levels = tuple(name for name, row in profile.document["recommended"].items() if row["share"] is not None)
    found: dict[Budget, list[Outcome]] = {}
    for folder, budgets in (("levels", levels), ("peak", (peak_budget(profile.overall),))):
        settings = SweepSettings(name, out / folder, budgets, mode="direct", sampling=drawn)
        run_sweep(settings, base_url, problems=held_out)
        for outcome in outcomes(read_run(out / folder)):
            found.setdefault(outcome.budget, []).append(outcome)
    return {level: found[level] for level in levels}, found[budgets[0]]


def kept(
    profile: ThinkingProfile, by_level: Mapping[Budget, Sequence[Outcome]], peak: Sequence[Outcome]
) -> list[Kept]:
    """One row a level. Raises ValueError where the peak accuracy is 0.

    A share s is a ratio of means of the same problems; its limits are those of the mean of
    `level - s * peak` over the problems, divided by the peak (the delta method; Cochran 1977, "Sampling
    techniques", section 6.4).
    """
    rows = []
    for level, replies in by_level.items():
        asked = profile.document["recommended"][level]
        matrix = matrix_of({"level": replies, "peak": peak})
        both = matrix[~np.isnan(matrix).any(axis=1)]
        at_level, at_peak = both.mean(axis=0)
        if at_peak == 0:
            raise ValueError(f"peak: none of the held-out problems is right at {peak[0].budget}")
        share = float(at_level / at_peak)
        residuals = both[:, [0]] - share * both[:, [1]]
        limits = difference_limits(residuals, score_step(both), normal_quantile(0.95))
        low, high = (share + float(limit[0] / at_peak) for limit in limits)
        budget = profile.overall.levels[str(level)]
        rows.append(
            Kept(
                level=str(level),
                budget=budget,
                promised=asked["share"],
                share=share,
                low=low,
                high=high,
                accuracy=float(at_level),
                expected=asked["accuracy"],
                tokens=float(np.mean([o.thinking_tokens for o in replies])),
                smallest=budget == profile.overall.points[0].budget,
            )
        )
    return rows


def table(rows: Sequence[Kept], tolerance: float) -> str:
    """The rows as text; shares in per cent of the peak accuracy."""
    lines = [
        f"{'level':>8}  {'budget':>6}  {'promised':>8}  {'share of the peak (95 %)':>25}  "
        f"{'points off':>10}  {'accuracy':>8}  {'expected':>8}  {'tokens':>6}"
    ]
    for row in rows:
        share = f"{100 * row.share:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]"
        budget = "max" if row.budget is None else row.budget
        missed = "" if row.hits(tolerance) else "  missed"
        lines.append(
            f"{row.level:>8}  {budget:>6}  {100 * row.promised:>6.1f} %  "
            f"{share:>25}  {100 * (row.share - row.promised):>+10.1f}  {row.accuracy:>8.3f}  "
            f"{row.expected:>8.3f}  {row.tokens:>6.1f}{missed}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
