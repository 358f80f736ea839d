"""The numbers of a comparison: every method against the start that all have, and against each other.

What is averaged is what the model of one seed does on one problem. Problems and seeds are both samples of
many, crossed with each other: see `trainer.study.crossed`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from evals import stats
from evals.budgets import Budget
from evals.summary.calibration import BINS
from evals.summary.outcomes import outcomes
from evals.summary.replies import read_run
from trainer.compare.measure import read_shifts, replies_folder
from trainer.compare.methods import START
from trainer.study.crossed import crossed_mean
from trainer.study.numbers import answers, area, read_curve, shared

Numbers = dict[str, Any]
Values = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A column of the table. least, most: what a value lies between; step: that of one changed answer."""

    name: str
    least: float
    most: float
    step: float = 0.0


QUANTITIES = (
    Quantity("think", 0, 1, 1.0),
    Quantity("no_think", 0, 1, 1.0),
    Quantity("area", 0, 1, 1.0),
    Quantity("length", 0, math.inf),
    Quantity("entropy", 0, math.inf),
    Quantity("ece", 0, 1),
    Quantity("kl", 0, math.inf),
)
"""Accuracy thinking without a limit, without thinking, and mean over the token budgets, all greedy. Of
replies sampled at temperature 1, thinking: tokens; mean entropy of next tokens, in nats; expected calibration
error of the answers' probabilities; KL(method || start) of whole replies, in nats."""
BETWEEN = ("think", "area")
"""What methods are compared with each other by."""


def comparison_numbers(methods: Mapping[str, Sequence[str]], out: Path) -> Numbers:
    """All numbers of the checkpoints measured in `out`, as JSON values.

    methods: the measured names of each, seed by seed; the start's is START. `rows` has one of the start and
    one of each method: `values`, and for methods `differences` from the start, each a mean with 95 % limits.
    `between` has each pair of methods, the second less the first, with Holm's p over pairs and quantities.
    """
    names = {START: [START], **methods}
    every = [name for seeds in names.values() for name in seeds]
    columns = [*_accuracies(every, out), *_replies(every, out)]
    table: dict[str, Values] = {
        method: {
            quantity.name: np.stack([found[name] for name in seeds], axis=1) for quantity, found in columns
        }
        for method, seeds in names.items()
    }
    rows = []
    for method in names:
        row: Numbers = {"method": method, "values": {}, "differences": None}
        for quantity in QUANTITIES:
            row["values"][quantity.name] = _mean(quantity, table[method][quantity.name])
        if method != START:
            row["differences"] = {
                quantity.name: _difference(quantity, table[START], table[method])
                for quantity in QUANTITIES
                if quantity.name != "kl"
            }
        rows.append(row)
    return {"format": 1, "rows": rows, "between": _between(methods, table)}


def _mean(quantity: Quantity, values: np.ndarray) -> Numbers | None:
    found = crossed_mean(_complete(values), quantity.least, quantity.most, quantity.step)
    return None if found is None else found.to_json()


def _difference(quantity: Quantity, first: Values, second: Values) -> Numbers | None:
    """The second less the first, seed by seed; a first of one seed, which the start has, serves all."""
    span = quantity.most - quantity.least
    both = _complete(second[quantity.name] - first[quantity.name])
    found = crossed_mean(both, -span, span, quantity.step)
    return None if found is None else found.to_json()


def _complete(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values).any(axis=1)]


def _between(methods: Mapping[str, Sequence[str]], table: Mapping[str, Values]) -> list[Numbers]:
    rows = []
    for first, second in combinations(methods, 2):
        for quantity in QUANTITIES:
            if quantity.name in BETWEEN:
                found = _difference(quantity, table[first], table[second])
                if found is not None:
                    rows.append({"first": first, "second": second, "quantity": quantity.name, **found})
    for row, p in zip(rows, stats.holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    return rows


def _accuracies(names: Sequence[str], out: Path) -> list[tuple[Quantity, dict[str, np.ndarray]]]:
    """think, no_think and area of every checkpoint, each an array over the problems that all answered."""
    runs = [read_curve(out, name) for name in names]
    problems, budgets = shared(runs)
    right = answers(runs, problems, budgets)
    places: dict[str, Budget] = {"think": "max", "no_think": 0}
    found = {quantity: right[:, budgets.index(budget)] for quantity, budget in places.items()}
    found["area"], _ = area(right, budgets)
    return [
        (quantity, dict(zip(names, found[quantity.name].T, strict=True)))
        for quantity in QUANTITIES
        if quantity.name in found
    ]


def _replies(names: Sequence[str], out: Path) -> list[tuple[Quantity, dict[str, np.ndarray]]]:
    """length, entropy, ece and kl of every checkpoint, over the problems to which all have a reply."""
    shifts = {name: {shift.problem: shift for shift in read_shifts(out, name)} for name in names}
    problems = sorted(set.intersection(*(set(found) for found in shifts.values())))

    def of(value: Callable[[Any], float]) -> dict[str, np.ndarray]:
        return {name: np.array([value(its[p]) for p in problems]) for name, its in shifts.items()}

    found = {
        "length": of(lambda shift: shift.tokens),
        "entropy": of(lambda shift: shift.entropy),
        "ece": _calibration(names, out),
        "kl": of(lambda shift: shift.kl),
    }
    return [(quantity, found[quantity.name]) for quantity in QUANTITIES if quantity.name in found]


def _calibration(names: Sequence[str], out: Path) -> dict[str, np.ndarray]:
    """What each answer adds to its checkpoint's calibration error, where all checkpoints give an answer.

    The mean of these gaps is the error (`evals.stats.calibration_gaps`).
    """
    graded = {}
    for name in names:
        run = read_run(replies_folder(out, name))
        graded[name] = {
            outcome.problem: (outcome.answer_probability, outcome.correct)
            for outcome in outcomes(run)
            if outcome.answer_probability is not None
        }
        run.grades.save()
    problems = sorted(set.intersection(*(set(found) for found in graded.values())))
    gaps = {}
    for name, found in graded.items():
        confidence = np.array([found[problem][0] for problem in problems], dtype=float)
        right = np.array([found[problem][1] for problem in problems], dtype=float)
        gaps[name] = stats.calibration_gaps(confidence, right, BINS)
    return gaps
