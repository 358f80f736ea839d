"""How well three confidences tell right answers from wrong ones at one budget.

- `answer_probability`: exp of the mean log probability of the tokens of the final answer.
- `vote_share`: the share of the problem's samples at this budget that give an equivalent answer, this
  sample included; needs two samples.
- `stated_confidence`: what the model says when asked how sure it is of the reply.

Replies without an answer have no confidence and are left out.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from evals import stats

BINS = 10
Graded = list[tuple[str, float, bool]]


class Answered(Protocol):
    """What is needed of a graded reply; `evals.summary.outcomes.Outcome` has it, and says what it is."""

    @property
    def problem(self) -> str: ...
    @property
    def answer(self) -> str | None: ...
    @property
    def group(self) -> int | None: ...
    @property
    def correct(self) -> bool: ...
    @property
    def answer_probability(self) -> float | None: ...
    @property
    def stated_confidence(self) -> float | None: ...


def calibration(replies: Sequence[Answered]) -> dict[str, dict[str, Any]]:
    """Numbers for each source of confidence that the replies have; keys as in the module's docstring."""
    return {name: _numbers(rows) for name, rows in confidences(replies).items()}


def confidences(replies: Sequence[Answered]) -> dict[str, Graded]:
    """(problem, confidence, whether right) of every reply that has one, for each source that any has."""
    answered = [o for o in replies if o.answer is not None]
    sources = {
        "answer_probability": _of(answered, "answer_probability"),
        "vote_share": _vote_shares(replies),
        "stated_confidence": _of(answered, "stated_confidence"),
    }
    return {name: rows for name, rows in sources.items() if rows}


def _of(replies: Iterable[Answered], field: str) -> Graded:
    return [(o.problem, getattr(o, field), o.correct) for o in replies if getattr(o, field) is not None]


def _vote_shares(replies: Sequence[Answered]) -> Graded:
    samples = Counter(o.problem for o in replies)
    votes = Counter((o.problem, o.group) for o in replies)
    return [
        (o.problem, votes[o.problem, o.group] / samples[o.problem], o.correct)
        for o in replies
        if o.group is not None and samples[o.problem] > 1
    ]


def _numbers(rows: Graded) -> dict[str, Any]:
    questions = [question for question, _, _ in rows]
    confidence = np.array([value for _, value, _ in rows])
    correct = np.array([right for _, _, right in rows], dtype=float)
    score = stats.brier(confidence, correct, BINS)
    assert score is not None
    order = stats.auroc(confidence, correct, questions)
    tempered = stats.cross_fitted_confidence(confidence, correct, questions)
    draws = max(50, min(1000, 500_000 // len(rows)))
    bins = stats.calibration_bins(confidence, correct, BINS, "width", questions)
    return {
        "n": len(rows),
        "ece": stats.expected_calibration_error(confidence, correct, BINS, "width"),
        "ece_mass": stats.expected_calibration_error(confidence, correct, BINS, "mass"),
        "noise_floor": stats.noise_floor(confidence, BINS, "width", draws),
        "noise_floor_mass": stats.noise_floor(confidence, BINS, "mass", draws),
        "brier": score.score,
        **{name: getattr(score, name) for name in ("reliability", "resolution", "uncertainty", "within_bin")},
        "auroc": None if order is None else order.mean,
        "auroc_low": None if order is None else order.low,
        "auroc_high": None if order is None else order.high,
        "temperature": stats.fit_temperature(confidence, correct),
        "ece_tempered": stats.expected_calibration_error(tempered, correct, BINS, "width"),
        "bins": [asdict(row) for row in bins],
    }
