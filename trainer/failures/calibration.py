"""Calibration before and after RL: does a confidence still say how often the answer is right?

RLHF made GPT-4's answer probabilities less calibrated than pre-training left them (OpenAI 2023,
arXiv:2303.08774, figure 8: expected calibration error 0.007 before, 0.074 after). A policy that is rewarded
for being right gains by always giving its likeliest answer, so that its agreement with itself no longer tells
right from wrong.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evals import stats
from evals.summary.calibration import BINS, confidences
from trainer.failures.curves import Measured, Numbers
from trainer.failures.intervals import Band, Draw, bootstrap
from trainer.failures.replies import Reply

Array = NDArray[np.float64]
Pairs = list[tuple[Array, Array]]
"""Of each problem: the confidences of its answered replies, and which are right."""
SOURCES = {
    "vote_share": "agreement of its samples",
    "answer_probability": "probability of its answer's tokens",
}
SCORES = ("ece", "brier", "confidence", "accuracy", "overconfidence")


def calibration_numbers(measured: Measured, samples: int) -> Numbers:
    """For each arm and source of confidence: SCORES along the steps, their changes, reliability bins.

    Replies without an answer have no confidence and are left out, as in `evals.summary.calibration`. The
    first `samples` replies to each problem are taken everywhere, as agreement depends on their number.
    """
    arms = []
    for arm in measured.arms.stages:
        steps = measured.steps(arm)
        sources = {}
        for source in SOURCES:
            pairs = [
                [_pairs(measured.by_problem(arm, seed, step), source, samples) for step in steps]
                for seed in measured.arms.seeds
            ]
            sources[source] = _source_numbers(pairs)
        arms.append({"name": arm, "steps": steps, "sources": sources})
    return {
        "format": 1,
        "failure": "calibration",
        "seeds": list(measured.arms.seeds),
        "thinks": measured.arms.thinks,
        "samples": samples,
        "arms": arms,
    }


def _pairs(replies: Sequence[Sequence[Reply]], source: str, samples: int) -> Pairs:
    found: Pairs = []
    for its in replies:
        rows = confidences(its[:samples]).get(source, [])
        # A geometric mean of probabilities may be above 1 by rounding.
        confidence = np.minimum([value for _, value, _ in rows], 1.0)
        found.append((confidence, np.array([right for _, _, right in rows], dtype=float)))
    return found


def scores(confidence: Array, right: Array) -> tuple[float, ...]:
    """SCORES of replies, with the evaluator's statistics. Raises RuntimeError without replies."""
    if not confidence.size:
        raise RuntimeError("no reply has an answer, so there is no confidence that could be right or wrong")
    error = stats.expected_calibration_error(confidence, right, BINS, "width")
    brier = stats.brier(confidence, right, BINS)
    assert error is not None
    assert brier is not None
    mean, share = float(confidence.mean()), float(right.mean())
    return error, brier.score, mean, share, mean - share


def _source_numbers(pairs: list[list[Pairs]]) -> Numbers:
    """pairs: [seeds][steps] of problems."""
    problems, seeds, steps = len(pairs[0][0]), len(pairs), len(pairs[0])

    def curve(draw: Draw) -> Array:
        # Each seed's own error, then their mean: pooled seeds would cancel errors of opposite sign.
        found = np.array(
            [
                np.mean([scores(*_gathered(pairs[s][t], draw[0])) for s in draw[1]], axis=0)
                for t in range(steps)
            ]
        )
        return np.vstack([found, found[-1] - found[0]])

    band = bootstrap(curve, problems, seeds, draws=400)
    along = Band(band.mean[:-1], band.low[:-1], band.high[:-1])
    return {
        **{name: along.along(place) for place, name in enumerate(SCORES)},
        "change": {name: band.at(steps, place).to_json() for place, name in enumerate(SCORES)},
        "noise_floor": [_floor(pairs, step) for step in (0, steps - 1)],
        "bins": [_bins(pairs, step) for step in (0, steps - 1)],
    }


def _gathered(pairs: Pairs, problems: NDArray[np.intp]) -> tuple[Array, Array]:
    chosen = [pairs[problem] for problem in problems]
    return np.concatenate([c for c, _ in chosen]), np.concatenate([y for _, y in chosen])


def _floor(pairs: list[list[Pairs]], step: int) -> float | None:
    """Expected calibration error of perfect confidences: mean over seeds."""
    everything = np.arange(len(pairs[0][0]))
    floors = [stats.noise_floor(_gathered(its[step], everything)[0], BINS, draws=200) for its in pairs]
    known = [floor for floor in floors if floor is not None]
    return float(np.mean(known)) if known else None


def _bins(pairs: list[list[Pairs]], step: int) -> list[Numbers]:
    """The reliability diagram, over all seeds together, clustered by problem."""
    rows = [(c, y, q) for its in pairs for q, one in enumerate(its[step]) for c, y in zip(*one, strict=True)]
    if not rows:
        return []
    confidence, right, questions = zip(*rows, strict=True)
    found = stats.calibration_bins(confidence, right, BINS, "width", questions)
    return [
        {
            "n": b.n,
            "confidence": b.confidence,
            "accuracy": b.accuracy,
            "low": b.accuracy_low,
            "high": b.accuracy_high,
        }
        for b in found
    ]


def sentences(numbers: Numbers) -> list[str]:
    """What the numbers show: of agreement, and of the answer's probability."""
    return ["; ".join(_clause(arm, source) for arm in numbers["arms"]) + "." for source in SOURCES]


def _clause(arm: Numbers, source: str) -> str:
    found = arm["sources"][source]
    moved = found["change"]["ece"]
    verdict = (
        "calibration gets worse"
        if moved["low"] > 0
        else "calibration gets better, against what was reported of RLHF"
        if moved["high"] < 0
        else "no change of calibration is clear of noise"
    )
    ece, over, right, brier = (found[name]["mean"] for name in ("ece", "overconfidence", "accuracy", "brier"))
    return (
        f"By the {SOURCES[source]}, {arm['steps'][-1]} steps of {arm['name']} take the expected calibration "
        f"error from {ece[0]:.3f} to {ece[-1]:.3f} ({moved['low']:+.3f} to {moved['high']:+.3f}), confidence "
        f"less accuracy from {100 * over[0]:+.1f} to {100 * over[-1]:+.1f} points and the Brier score from "
        f"{brier[0]:.3f} to {brier[-1]:.3f}, at an accuracy of {100 * right[0]:.1f} and then "
        f"{100 * right[-1]:.1f} %: {verdict}"
    )
