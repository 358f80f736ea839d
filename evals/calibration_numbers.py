"""How well three confidences tell right answers from wrong ones at one budget.

- `answer_probability`: exp of the mean log probability of the tokens of the final answer.
- `vote_share`: the share of the problem's samples at this budget that give an equivalent answer, this
  sample included; needs two samples.
- `stated_confidence`: what the model says when asked how sure it is of the reply.

Replies without an answer have no confidence and are left out.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from evals import stats
from evals.outcomes import Outcome

BINS = 10
FLOOR_DRAWS = 200
Graded = list[tuple[str, float, bool]]


def calibration(replies: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Numbers for each source of confidence that the replies have; keys as in the module's docstring."""
    answered = [o for o in replies if o.answer is not None]
    sources = {
        "answer_probability": _of(answered, "answer_probability"),
        "vote_share": _vote_shares(replies),
        "stated_confidence": _of(answered, "stated_confidence"),
    }
    return {name: _numbers(rows) for name, rows in sources.items() if rows}


def _of(replies: Iterable[Outcome], field: str) -> Graded:
    return [(o.problem, getattr(o, field), o.correct) for o in replies if getattr(o, field) is not None]


def _vote_shares(replies: Sequence[Outcome]) -> Graded:
    samples = Counter(o.problem for o in replies)
    votes = Counter((o.problem, o.group) for o in replies)
    return [
        (o.problem, votes[o.problem, o.group] / samples[o.problem], o.correct)
        for o in replies
        if o.group is not None and samples[o.problem] > 1
    ]


def _numbers(rows: Graded) -> dict[str, Any]:
    questions = [question for question, _, _ in rows]
    confidence = [value for _, value, _ in rows]
    correct = [right for _, _, right in rows]
    brier = stats.brier(confidence, correct, BINS)
    discrimination = stats.auroc(confidence, correct, questions)
    temperature = stats.fit_temperature(confidence, correct)
    return {
        "n": len(rows),
        "ece": stats.expected_calibration_error(confidence, correct, BINS, "width"),
        "ece_mass": stats.expected_calibration_error(confidence, correct, BINS, "mass"),
        "noise_floor": stats.noise_floor(confidence, BINS, "width", FLOOR_DRAWS, 0),
        "noise_floor_mass": stats.noise_floor(confidence, BINS, "mass", FLOOR_DRAWS, 0),
        "brier": brier.score,
        "reliability": brier.reliability,
        "resolution": brier.resolution,
        "uncertainty": brier.uncertainty,
        "within_bin": brier.within_bin,
        "auroc": None if discrimination is None else discrimination.mean,
        "auroc_low": None if discrimination is None else discrimination.low,
        "auroc_high": None if discrimination is None else discrimination.high,
        "temperature": temperature,
        "ece_tempered": stats.cross_fitted_ece(confidence, correct, questions, BINS),
        "bins": [_bin(row) for row in stats.calibration_bins(confidence, correct, BINS, "width")],
    }


def _bin(row: Any) -> dict[str, Any]:
    low, high = stats.wilson_interval(row.accuracy * row.n, row.n)
    return {
        "low": row.low,
        "high": row.high,
        "n": row.n,
        "confidence": row.confidence,
        "accuracy": row.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
    }
