"""The numbers of an ablation, recomputed from the stores: stages, and paired differences between them.

Intervals are 95 %, with problems as the clusters; differences are paired by problem.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from evals import stats
from evals.compare.compare import ALPHA, compare
from evals.compare.verdicts import curve_verdict
from evals.summary.curve import bands, question_differences
from evals.summary.outcomes import Outcome, outcomes
from evals.summary.points import accuracy_of, clusters, interval, mean, point
from evals.summary.replies import read_run
from trainer.ablation.measure import HALF, Measured, curve_folder, half_folder, modes_file

Numbers = dict[str, Any]
_OF_POINT = ("budget", "n", "accuracy", "low", "high", "chance", "mean_thinking_tokens", "shares", "cut")


def ablation_numbers(stages: Sequence[Measured], out: Path) -> Numbers:
    """All numbers of the stages measured in `out`, as JSON values.

    Each stage is compared with its parent, and the last one with the first that it comes from; p values are
    adjusted over all of these comparisons and budgets together (Holm).
    """
    parents = {stage.name: stage.parent for stage in stages}
    pairs = [(parent, name) for name, parent in parents.items() if parent is not None]
    last = first = stages[-1].name
    while (parent := parents[first]) is not None:
        first = parent
    if first != last and (first, last) not in pairs:
        pairs.append((first, last))
    return {
        "format": 1,
        "stages": [stage_numbers(stage, out) for stage in stages],
        "comparisons": _comparisons(pairs, out),
    }


def stage_numbers(stage: Measured, out: Path) -> Numbers:
    """One stage: `points` of the curve, `half` (traces cut at half their length), `modes`."""
    return {
        "name": stage.name,
        "parent": stage.parent,
        "checkpoint": str(stage.checkpoint),
        **curve_numbers(out, stage.name),
        "half": _half(out, stage.name),
        "modes": _modes(json.loads(modes_file(out, stage.name).read_text("utf-8"))["replies"]),
    }


def curve_numbers(out: Path, name: str) -> Numbers:
    """The curve of the stage `name`: `problems`, and `points` with the bands that hold it as a whole."""
    run = read_run(curve_folder(out, name))
    found = outcomes(run)
    run.grades.save()
    by_budget = {budget: [o for o in found if o.budget == budget] for budget in run.budgets}
    edges = bands(by_budget)
    expected = len(run.manifest["plan"]["problems"])
    points = []
    for budget, replies in by_budget.items():
        row = point(budget, replies, by_budget[0], expected)
        low, high = edges[budget]
        points.append({name: row[name] for name in _OF_POINT} | {"band_low": low, "band_high": high})
    return {"problems": {"sets": run.manifest["settings"]["problems"], "n": expected}, "points": points}


def half_cut(out: Path, name: str) -> tuple[list[Outcome], list[Outcome]]:
    """Answers from the first half of traces that had ended by themselves, and thinking off on those problems.

    A trace of one token cannot be halved and is left out.
    """
    run = read_run(half_folder(out, name))
    found = outcomes(run)
    run.grades.save()
    cut = [o for o in found if o.budget == HALF and o.forced and o.natural_tokens is not None]
    problems = {o.problem for o in cut}
    return cut, [o for o in found if o.budget == 0 and o.problem in problems]


def _half(out: Path, name: str) -> Numbers:
    cut, off = half_cut(out, name)
    return {
        **accuracy_of(clusters(cut)),
        "mean_natural_tokens": mean(o.natural_tokens for o in cut),
        "mean_kept_tokens": mean(o.thinking_tokens for o in cut),
        "no_think": accuracy_of(clusters(off)),
        "gain": interval(stats.paired_difference(clusters(off), clusters(cut))),
    }


def _modes(replies: Sequence[dict[str, Any]]) -> Numbers:
    """Share of replies that follow: all of them, and by the way of asking."""
    ways = list(dict.fromkeys(reply["way"] for reply in replies))
    rows = []
    for way in ways:
        asked = [reply for reply in replies if reply["way"] == way]
        rows.append({"way": way, "thinks": asked[0]["thinks"], **_followed(asked)})
    return {**_followed(replies), "ways": rows}


def _followed(replies: Iterable[dict[str, Any]]) -> Numbers:
    groups: dict[str, list[float]] = {}
    for reply in replies:
        groups.setdefault(reply["problem"], []).append(float(reply["followed"]))
    found = accuracy_of(groups)
    return {"n": found["n"], "share": found["accuracy"], "low": found["low"], "high": found["high"]}


def _comparisons(pairs: Sequence[tuple[str, str]], out: Path) -> list[Numbers]:
    rows = [_comparison(a, b, out) for a, b in pairs]
    tests = [test for row in rows for test in [*row["points"], row["half"]] if test is not None]
    for test, p in zip(tests, stats.holm([test["p"] for test in tests]), strict=True):
        test["p_holm"] = p
    for row in rows:
        row["verdict"] = curve_verdict(row["a"], row["b"], row["points"], row["area"], ALPHA)
    return rows


def _comparison(a: str, b: str, out: Path) -> Numbers:
    """Two stages at every budget, by `evals.compare`, and on the problems whose traces both were halved."""
    pair = compare([curve_folder(out, a), curve_folder(out, b)])["pairs"][0]
    first, second = (clusters(half_cut(out, name)[0]) for name in (a, b))
    estimate = stats.paired_difference(first, second)
    half = None
    if estimate is not None:
        p = stats.sign_flip_test(question_differences(first, second))
        half = {"n": estimate.questions, "difference": interval(estimate), "p": p}
    return {name: pair[name] for name in ("a", "b", "problems", "points", "area")} | {"half": half}
