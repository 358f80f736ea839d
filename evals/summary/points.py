"""The numbers of one budget: accuracy three ways, several samples, shares, cut replies, control."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from evals import stats
from evals.budgets import Budget
from evals.grading import Verdict
from evals.summary.outcomes import Outcome

THRESHOLDS = (0.25, 0.5, 0.75, 1.0)
"""Shares of k samples that must be right for G-Pass@k."""
ENDINGS = ("natural", "forced", "censored", "off", "unknown")
"""Thinking ended by itself, was ended for the model, ran out of tokens, was turned off, or it is not told."""


def clusters(replies: Iterable[Outcome]) -> dict[str, list[float]]:
    """Ones and zeros grouped by problem."""
    groups: dict[str, list[float]] = {}
    for outcome in replies:
        groups.setdefault(outcome.problem, []).append(float(outcome.correct))
    return groups


def accuracy(replies: Iterable[Outcome]) -> dict[str, Any]:
    """n, accuracy and its clustered Wilson interval; null without replies."""
    return accuracy_of(clusters(replies))


def accuracy_of(groups: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """`accuracy` of ones and zeros that are grouped already."""
    estimate = stats.clustered_proportion(groups)
    if estimate is None:
        return {"n": 0, "accuracy": None, "low": None, "high": None}
    return {"n": estimate.n, "accuracy": estimate.mean, "low": estimate.low, "high": estimate.high}


def interval(estimate: stats.Estimate | None) -> dict[str, Any] | None:
    """An estimate as the summary holds it."""
    if estimate is None:
        return None
    names = ("n", "mean", "se", "low", "high")
    return {name: getattr(estimate, name) for name in names}


def chance(replies: Sequence[Outcome]) -> float | None:
    """Mean chance accuracy of the replies' problems; None unless each problem tells it."""
    known = [o.chance for o in replies if o.chance is not None]
    return fmean(known) if known and len(known) == len(replies) else None


def share(replies: Sequence[Outcome], test: Callable[[Outcome], bool]) -> float | None:
    """Share of the replies that pass; None without replies."""
    return sum(map(test, replies)) / len(replies) if replies else None


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the known values; None without any."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def point(
    budget: Budget, replies: Sequence[Outcome], no_think: Sequence[Outcome], expected: int
) -> dict[str, Any]:
    """What one budget's replies say; `no_think` are the run's replies with thinking off."""
    groups = clusters(replies)
    these = stats.decoding_interval(groups)
    return {
        "budget": budget,
        "questions": len(groups),
        "samples": min(map(len, groups.values()), default=0),
        "missing": expected - len(replies),
        **accuracy_of(groups),
        "these_low": None if these is None else these[0],
        "these_high": None if these is None else these[1],
        "chance": chance(replies),
        **several_samples(replies),
        "shares": _shares(replies),
        "stop_causes": dict(sorted(Counter(o.stop_cause or "unknown" for o in replies).items())),
        "cut": _cut(replies, no_think),
        "verdicts": dict(sorted(Counter(o.verdict.value for o in replies).items())),
        "ended_share": share(replies, lambda o: o.finish_reason == "stop"),
        "ended_answered_share": share(replies, lambda o: o.finish_reason == "stop" and o.answer is not None),
        "mean_thinking_tokens": mean(o.thinking_tokens for o in replies),
        "mean_answer_tokens": mean(o.answer_tokens for o in replies),
        "mean_generated_tokens": mean(o.reply_tokens for o in replies),
        "control": control(budget, replies),
    }


def several_samples(replies: Sequence[Outcome]) -> dict[str, Any]:
    """pass@k, maj@k and G-Pass@k, means over problems; k up to the samples that every problem has.

    maj@k counts a vote for every class of equivalent answers, none for a reply without answer.
    """
    by_problem: dict[str, list[Outcome]] = {}
    for outcome in replies:
        by_problem.setdefault(outcome.problem, []).append(outcome)
    most = min(map(len, by_problem.values()), default=0)
    sizes = sorted({2**i for i in range(most.bit_length()) if 2**i <= most} | ({most} if most else set()))
    counts = [(sum(o.correct for o in group), len(group)) for group in by_problem.values()]
    votes = [[o.group for o in sorted(group, key=lambda o: o.sample)] for group in by_problem.values()]
    return {
        "pass_at_k": {str(k): fmean(stats.pass_at_k(c, n, k) for c, n in counts) for k in sizes},
        "maj_at_k": {
            str(k): fmean(stats.majority_at_k(groups, {0}, k, seed=0) for groups in votes) for k in sizes
        },
        "g_pass_at_k": _g_pass(counts, most),
    }


def _g_pass(counts: Sequence[tuple[int, int]], most: int) -> dict[str, Any] | None:
    """G-Pass@k at the largest power of two that leaves at least as many samples again; None below 4."""
    if most < 4:
        return None
    k: int = 2 ** ((most // 2).bit_length() - 1)
    at = {
        str(threshold): fmean(stats.g_pass_at_k(c, n, k, threshold) for c, n in counts)
        for threshold in THRESHOLDS
    }
    return {"k": k, **at, "mean": fmean(stats.mean_g_pass_at_k(c, n, k) for c, n in counts)}


def _shares(replies: Sequence[Outcome]) -> dict[str, float | None]:
    """How thinking ended, shares that sum to 1; beside them `escaped`, a part of the forced."""
    endings = Counter(map(_ending, replies))
    shares = {name: endings[name] / len(replies) if replies else None for name in ENDINGS}
    return {**shares, "escaped": share(replies, lambda o: o.escaped)}


def _ending(outcome: Outcome) -> str:
    """One of `ENDINGS`. An answer that opens thinking once more ended as the server says, if it does."""
    if outcome.stop_cause == "length" or (outcome.stop_cause is None and outcome.verdict is Verdict.CENSORED):
        return "censored"
    if outcome.forced:
        return "forced"
    return {"natural": "natural", "disabled": "off"}.get(outcome.stop_cause or "", "unknown")


def _cut(replies: Sequence[Outcome], no_think: Sequence[Outcome]) -> dict[str, Any]:
    """Accuracy among forced replies, and their gain over thinking off on the same problems."""
    cut = [o for o in replies if o.forced]
    problems = {o.problem for o in cut}
    same = clusters(o for o in no_think if o.problem in problems)
    groups = clusters(cut)
    return {
        "share": share([o for o in replies if o.stop_cause is not None], lambda o: o.forced),
        **accuracy_of(groups),
        "chance": chance(cut),
        "no_think_accuracy": _mean_of_problems(same),
        "gain": interval(stats.paired_difference(same, groups)),
    }


def _mean_of_problems(groups: Mapping[str, Sequence[float]]) -> float | None:
    return fmean(map(fmean, groups.values())) if groups else None


def control(budget: Budget, replies: Sequence[Outcome]) -> dict[str, Any] | None:
    """Tokens asked against tokens thought; None for budgets that are no number, and for thinking off."""
    used = [o.thinking_tokens for o in replies if o.thinking_tokens is not None]
    if not isinstance(budget, int) or budget == 0 or not used:
        return None
    found = stats.control_error(budget, used)
    assert found is not None
    names = ("asked", "mean_used", "max_used", "over_share", "mean_error", "mean_relative_error")
    return {name: getattr(found, name) for name in names}
