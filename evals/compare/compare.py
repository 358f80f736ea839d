"""Compare the curves of two or more runs on the problems and budgets they share, paired by problem.

Problems are matched by the content hashes of the manifests: the same id with another text or another
expected answer is another problem. Every run is graded by the same grader.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from evals import stats
from evals.budgets import Budget, axis_of, sort_budgets
from evals.compare.verdicts import curve_verdict
from evals.compare.warnings import warnings
from evals.summary.curve import SCALE, token_axis
from evals.summary.outcomes import outcomes
from evals.summary.points import accuracy_of, interval
from evals.summary.replies import read_run

ALPHA = 0.05
Cell = tuple[str, Budget]


@dataclass(frozen=True, slots=True)
class Measured:
    """A run reduced to what is compared.

    values: the ones and zeros of each problem (by content hash) and budget.
    """

    name: str
    directory: Path
    manifest: dict[str, Any]
    values: Mapping[Cell, Sequence[float]]

    @property
    def problems(self) -> set[str]:
        """Content hashes of the problems asked."""
        return set(self.manifest["plan"]["problems"].values())

    @property
    def budgets(self) -> list[Budget]:
        """The budgets asked for."""
        budgets: list[Budget] = self.manifest["plan"]["budgets"]
        return budgets


def compare(directories: Sequence[Path], grader: str = "thinkdial") -> dict[str, Any]:
    """Every pair of the runs, as JSON values.

    Each pair has, at each common budget: both accuracies on the common problems, their paired difference
    (b - a) with a t interval, the simultaneous band over budgets, a sign-flip p and Holm's p over all budgets
    and pairs, and the difference that the pair could have shown (80 % power at 5 %). The area difference is
    that of the curves over the common token budgets. Raises ValueError for fewer than two runs, for runs
    without common problems or budgets, and for different axes.
    """
    if len(directories) < 2:
        raise ValueError(f"runs: {len(directories)} given; give two or more run directories")
    real = [directory.resolve() for directory in directories]
    twice = [str(directory) for directory in real if real.count(directory) > 1]
    if twice:
        raise ValueError(f"runs: {twice[0]} is given twice; give different runs")
    names = _names(directories)
    runs = [measure(directory, name, grader) for directory, name in zip(directories, names, strict=True)]
    _check_axes(runs)
    pairs = [_pair(a, b) for a, b in combinations(runs, 2)]
    _adjust([point for pair in pairs for point in pair["points"]])
    for pair in pairs:
        pair["verdict"] = curve_verdict(pair["a"], pair["b"], pair["points"], pair["area"], ALPHA)
    return {
        "format": 1,
        "grader": grader,
        "axis": axis_of(runs[0].budgets),
        "runs": [_run(run) for run in runs],
        "budgets": sort_budgets(set.intersection(*(set(run.budgets) for run in runs))),
        "pairs": pairs,
        "warnings": warnings([(run.name, run.manifest, _counts(run)) for run in runs]),
    }


def measure(directory: Path, name: str, grader: str) -> Measured:
    """Read and grade a run; nothing but its ones and zeros is kept."""
    run = read_run(directory, grader)
    hashes = run.manifest["plan"]["problems"]
    values: dict[Cell, list[float]] = {}
    for outcome in outcomes(run):
        values.setdefault((hashes[outcome.problem], outcome.budget), []).append(float(outcome.correct))
    run.grades.save()
    return Measured(name, directory, run.manifest, values)


def _names(directories: Sequence[Path]) -> list[str]:
    """The folders' names; whole paths where two are alike."""
    short = [directory.resolve().name for directory in directories]
    if len(set(short)) == len(short):
        return short
    return [str(directory) for directory in directories]


def _check_axes(runs: Sequence[Measured]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if axis_of(run.budgets) != axis_of(first.budgets):
            raise ValueError(
                f"runs: {first.name} moves along {axis_of(first.budgets)} and {run.name} along "
                f"{axis_of(run.budgets)}; compare runs along one axis"
            )


def _run(run: Measured) -> dict[str, Any]:
    """A run's own curve, on all of its problems."""
    points = []
    for budget in run.budgets:
        groups = {problem: ones for (problem, at), ones in run.values.items() if at == budget}
        points.append({"budget": budget, **accuracy_of(groups)})
    settings = run.manifest["settings"]
    return {
        "name": run.name,
        "directory": str(run.directory),
        "model": settings["model"],
        "mode": settings["mode"],
        "problems": len(run.problems),
        "points": points,
    }


def _counts(run: Measured) -> tuple[int, int]:
    """Fewest and most samples of a problem and budget."""
    sizes = [len(ones) for ones in run.values.values()]
    return min(sizes, default=0), max(sizes, default=0)


def _pair(a: Measured, b: Measured) -> dict[str, Any]:
    shared = sorted(a.problems & b.problems)
    if not shared:
        raise ValueError(
            f"runs: {a.name} and {b.name} have no problem in common (same id, text and answer); "
            "compare runs on the same problem sets"
        )
    budgets = sort_budgets(set(a.budgets) & set(b.budgets))
    if not budgets:
        raise ValueError(
            f"runs: {a.name} and {b.name} have no budget in common; "
            f"sweep one of them again with --budgets {','.join(map(str, a.budgets))}"
        )
    first, second = _matrix(a, shared, budgets), _matrix(b, shared, budgets)
    both = ~np.isnan(first) & ~np.isnan(second)
    columns = [i for i in range(len(budgets)) if both[:, i].any()]
    if not columns:
        return {"a": a.name, "b": b.name, "problems": len(shared), "points": [], "area": None, "mde": None}
    first, second = np.where(both, first, np.nan), np.where(both, second, np.nan)
    bands = stats.difference_bands(first[:, columns], second[:, columns])
    points = []
    for place, column in enumerate(columns):
        rows = [shared[i] for i in np.flatnonzero(both[:, column])]
        points.append(_point(a, b, budgets[column], rows, bands.band_low[place], bands.band_high[place]))
    return {
        "a": a.name,
        "b": b.name,
        "problems": len(shared),
        "points": points,
        "area": _area(first, second, budgets),
        "mde": _smallest([point["mde"] for point in points]),
    }


def _matrix(run: Measured, problems: Sequence[str], budgets: Sequence[Budget]) -> np.ndarray:
    return np.array(
        [[_mean(run.values.get((problem, budget))) for budget in budgets] for problem in problems],
        dtype=float,
    )


def _mean(ones: Sequence[float] | None) -> float:
    return float(np.mean(ones)) if ones else float("nan")


def _point(
    a: Measured, b: Measured, budget: Budget, problems: Sequence[str], low: float | None, high: float | None
) -> dict[str, Any]:
    first = {problem: a.values[problem, budget] for problem in problems}
    second = {problem: b.values[problem, budget] for problem in problems}
    estimate = stats.paired_difference(first, second)
    assert estimate is not None
    differences = [float(np.mean(second[p]) - np.mean(first[p])) for p in problems]
    return {
        "budget": budget,
        "n": len(problems),
        "a": float(np.mean([np.mean(ones) for ones in first.values()])),
        "b": float(np.mean([np.mean(ones) for ones in second.values()])),
        "difference": interval(estimate),
        "band_low": low,
        "band_high": high,
        "p": stats.sign_flip_test(differences),
        "mde": None
        if estimate.se is None
        else stats.minimum_detectable_effect(estimate.se, estimate.questions - 1),
    }


def _adjust(points: Sequence[dict[str, Any]]) -> None:
    for point, p in zip(points, stats.holm([point["p"] for point in points]), strict=True):
        point["p_holm"] = p


def _area(first: np.ndarray, second: np.ndarray, budgets: Sequence[Budget]) -> dict[str, Any] | None:
    """Difference of the areas over the common token budgets; None below two of them."""
    columns = [i for i, budget in enumerate(budgets) if isinstance(budget, int)]
    if len(columns) < 2:
        return None
    grid = [budgets[i] for i in columns]
    found = interval(stats.area_difference(first[:, columns], second[:, columns], token_axis(grid)))
    return None if found is None else {**found, "scale": SCALE, "grid": grid}


def _smallest(values: Sequence[float | None]) -> float | None:
    """The smallest difference that some budget of the pair could have shown."""
    return min((value for value in values if value is not None), default=None)
