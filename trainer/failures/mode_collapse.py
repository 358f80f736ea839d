"""Mode collapse: entropy, distinct answers and distinct thinking through RL, and what it costs at pass@k.

RL sharpens the policy it begins with: its entropy falls as its reward rises (Cui et al. 2025, "The entropy
mechanism of RL for reasoning language models", arXiv:2505.22617), and with enough samples the start solves
problems that the trained policy no longer does (Yue et al. 2025, arXiv:2504.13837).
"""

from collections.abc import Sequence

import numpy as np

from evals.stats import pass_at_k
from trainer.failures.curves import Measured, Numbers, change
from trainer.failures.estimators import expected_distinct
from trainer.failures.intervals import bootstrap, mean_band
from trainer.failures.replies import Reply

DRAWS = 8
"""Replies to a problem among which distinct ones are counted."""
ENTROPY, ANSWERS, THINKING, RIGHT_ONCE, RIGHT_OFTEN = range(5)
NAMES = ("entropy", "distinct_answers", "distinct_thinking", "pass_at_1", "pass_at_k")


def mode_collapse_numbers(measured: Measured, samples: int) -> Numbers:
    """Curves of every arm, as JSON values; the first arm is the plain one that the others are compared with.

    Of each arm: `steps`, a curve with limits for each of NAMES, `change` of each from the start to the end,
    and `against`, its difference from the first arm at the end. k is `samples`.
    """
    arms = []
    plain: np.ndarray | None = None
    for arm in measured.arms.stages:
        values = measured.curve(arm, lambda replies: problem_numbers(replies, samples))
        plain = values if plain is None else plain
        band, moved = mean_band(values), change(values, 0, -1)
        arms.append(
            {
                "name": arm,
                "steps": measured.steps(arm),
                **{name: band.along(place) for place, name in enumerate(NAMES)},
                "change": {name: moved.at(place).to_json() for place, name in enumerate(NAMES)},
                "against": None if plain is values else _against(plain, values),
            }
        )
    return {
        "format": 1,
        "failure": "mode-collapse",
        "seeds": list(measured.arms.seeds),
        "thinks": measured.arms.thinks,
        "k": samples,
        "draws": min(DRAWS, samples),
        "arms": arms,
    }


def problem_numbers(replies: Sequence[Reply], samples: int) -> tuple[float, ...]:
    """NAMES of one problem's first `samples` replies.

    entropy: mean over replies of nats per sampled token. Replies without an answer count as one answer.
    """
    replies = replies[:samples]
    draws, right = min(DRAWS, samples), sum(reply.correct for reply in replies)
    answers = expected_distinct([reply.group for reply in replies], draws)
    thinking = expected_distinct([reply.thinking for reply in replies], draws)
    assert answers is not None
    assert thinking is not None
    return (
        float(np.mean([reply.entropy / max(reply.sampled, 1) for reply in replies])),
        answers,
        thinking,
        right / samples,
        pass_at_k(right, samples, samples),
    )


def sentences(numbers: Numbers) -> list[str]:
    """What the numbers show: of the first arm through training, and of the others against it."""
    plain, *others = numbers["arms"]
    return [_through_training(numbers, plain), _compared(numbers, plain, others)]


def _through_training(numbers: Numbers, arm: Numbers) -> str:
    moved = arm["change"]
    kind = "distinct_thinking" if numbers["thinks"] else "distinct_answers"
    noun = "thinking texts" if numbers["thinks"] else "answers"
    narrower = [moved["entropy"]["high"] < 0, moved[kind]["high"] < 0]
    verdict = {
        2: "its modes collapse",
        1: "one of the two signs of collapse is clear of noise",
        0: "no collapse is shown",
    }[sum(narrower)]
    entropy, distinct, once, often = (
        arm[name]["mean"] for name in ("entropy", kind, "pass_at_1", "pass_at_k")
    )
    return (
        f"In {arm['steps'][-1]} steps of {arm['name']} accuracy goes from {100 * once[0]:.1f} to "
        f"{100 * once[-1]:.1f} %, entropy from {entropy[0]:.3f} to {entropy[-1]:.3f} nats per token "
        f"({_limits(moved['entropy'], 1, 3)}) and the distinct {noun} among {numbers['draws']} replies from "
        f"{distinct[0]:.2f} to {distinct[-1]:.2f} ({_limits(moved[kind], 1, 2)}): {verdict}, and problems "
        f"solved once in {numbers['k']} go from {100 * often[0]:.1f} to {100 * often[-1]:.1f} % "
        f"({_limits(moved['pass_at_k'], 100, 1)} points)."
    )


def _compared(numbers: Numbers, plain: Numbers, others: Sequence[Numbers]) -> str:
    clauses = []
    for arm in others:
        entropy, accuracy = arm["against"]["entropy"], arm["against"]["pass_at_1"]
        kept = (
            "keeps" if entropy["low"] > 0 else "loses" if entropy["high"] < 0 else "does not clearly change"
        )
        cost = (
            "at a cost in accuracy of"
            if accuracy["high"] < 0
            else "with a gain in accuracy of"
            if accuracy["low"] > 0
            else "with no clear change of accuracy,"
        )
        clauses.append(
            f"{arm['name']} {kept} entropy ({entropy['mean']:+.3f}, {_limits(entropy, 1, 3)} nats per token) "
            f"{cost} {100 * accuracy['mean']:+.1f} points "
            f"({_limits(accuracy, 100, 1)})"
        )
    if not clauses:
        return f"There is no other arm to compare {plain['name']} with."
    return f"Against {plain['name']}, " + "; ".join(clauses) + "."


def _against(plain: np.ndarray, values: np.ndarray) -> Numbers:
    ends = values[:, :, -1] - plain[:, :, -1]
    band = bootstrap(lambda draw: ends[draw[0]][:, draw[1]].mean((0, 1)), *ends.shape[:2])
    return {name: band.at(place).to_json() for place, name in enumerate(NAMES)}


def _limits(interval: Numbers, scale: float, digits: int) -> str:
    return f"{scale * interval['low']:+.{digits}f} to {scale * interval['high']:+.{digits}f}"
