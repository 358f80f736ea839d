"""How the arms of a study trained: lengths of right and wrong replies, and which groups updates came from.

GRPO's two biases are looked for here (Dr. GRPO, arXiv:2503.20783, section 3.1). Its mean over each reply's
own tokens makes long wrong replies cheap, so that they grow; its division by the group's deviation gives
problems that are nearly solved or nearly hopeless more of the update.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evals.wording import listed
from trainer.progress.plots import read_series
from trainer.study.seeds import Interval, clear, seed_interval

Numbers = dict[str, Any]
LENGTHS = ("length/right", "length/wrong")
SHARES = ("update/near_solved", "update/near_hopeless")
PART = 4
"""Growth is from the first to the last of so many parts of the steps."""


def training_numbers(arms: Mapping[str, Sequence[str]], run: Path) -> Numbers | None:
    """What the metrics of all arms' stages in `run` say; None where they have none of these.

    arms: the stages of each, seed by seed. Returns JSON values: `series`, by arm and metric, one list a seed
    of values by step (null where no reply is of that kind), and for lengths and shares, each where all arms
    have it, `growth` (tokens from the first to the last quarter of the steps) and `share` (of the update,
    mean over steps, of nearly solved and nearly hopeless groups together): by arm, and for each later arm
    its `difference` from the first, seed by seed. Intervals are 95 % and for other seeds.
    """
    series = {
        arm: {metric: _by_seed(run, stages, metric) for metric in LENGTHS + SHARES}
        for arm, stages in arms.items()
    }
    have = [metric for metric in LENGTHS + SHARES if all(all(its[metric]) for its in series.values())]
    if not have:
        return None
    found: Numbers = {
        "series": {arm: {metric: its[metric] for metric in have} for arm, its in series.items()},
        "growth": {
            metric: _compared({arm: [*map(_growth, its[metric])] for arm, its in series.items()})
            for metric in LENGTHS
            if metric in have
        },
        "share": None,
    }
    if all(metric in have for metric in SHARES):
        found["share"] = _compared(
            {
                arm: [_mean(one) + _mean(other) for one, other in zip(*(its[m] for m in SHARES), strict=True)]
                for arm, its in series.items()
            }
        )
    return found


def sentences(numbers: Numbers) -> list[str]:
    """What the numbers of `training_numbers` say of each bias, a sentence each."""
    found = []
    growth = numbers["growth"]
    if all(growth.get(metric) for metric in LENGTHS):
        parts = [
            f"{arm} {_tokens(growth['length/wrong']['arms'][arm])} (right ones "
            f"{_tokens(growth['length/right']['arms'][arm])})"
            for arm in growth["length/wrong"]["arms"]
        ]
        found.append(
            "From the first quarter of the steps to the last, wrong replies changed by these tokens: "
            f"{listed(parts)}; {_differences(growth['length/wrong'], _tokens)}."
        )
    if numbers["share"] is not None:
        parts = [f"{_percent(of)} of {arm}'s" for arm, of in numbers["share"]["arms"].items()]
        found.append(
            "Groups with three in four replies right, or three in four wrong, made "
            f"{listed(parts)} update; {_differences(numbers['share'], _points)}."
        )
    return found


def _by_seed(run: Path, stages: Sequence[str], metric: str) -> list[list[float | None]]:
    """The metric of each stage by step; [] where it has none."""
    return [_steps(read_series(run / stage / "metrics.jsonl").get(metric, [])) for stage in stages]


def _steps(points: Sequence[tuple[int, float]]) -> list[float | None]:
    values: list[float | None] = [None] * max((step for step, _ in points), default=0)
    for step, value in points:
        values[step - 1] = value if math.isfinite(value) else None
    return values


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else math.nan


def _growth(values: Sequence[float | None]) -> float:
    part = max(1, len(values) // PART)
    return _mean(values[-part:]) - _mean(values[:part])


def _compared(arms: Mapping[str, Sequence[float]]) -> Numbers | None:
    """Each arm over its seeds, and the later ones against the first; None where a seed has no value."""
    if not all(math.isfinite(value) for values in arms.values() for value in values):
        return None
    baseline, *others = arms
    return {
        "baseline": baseline,
        "arms": {arm: seed_interval(values) for arm, values in arms.items()},
        "differences": {
            arm: seed_interval([a - b for a, b in zip(arms[arm], arms[baseline], strict=True)])
            for arm in others
        },
        "by_seed": {arm: list(values) for arm, values in arms.items()},
    }


def _differences(numbers: Numbers, words: Callable[[Interval], str]) -> str:
    told = [
        f"{arm} less {numbers['baseline']} is {words(of)}, {'' if clear(of) else 'not '}clear of 0"
        for arm, of in numbers["differences"].items()
    ]
    return listed(told)


def _tokens(of: Interval) -> str:
    return f"{of['mean']:+.1f} [{of['low']:+.1f}, {of['high']:+.1f}]"


def _percent(of: Interval) -> str:
    return f"{100 * of['mean']:.1f} [{100 * of['low']:.1f}, {100 * of['high']:.1f}] %"


def _points(of: Interval) -> str:
    return f"{100 * of['mean']:+.1f} [{100 * of['low']:+.1f}, {100 * of['high']:+.1f}] points"
