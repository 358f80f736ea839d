"""The outcome of every problem, sample and budget, derived from a run's replies.

Replies are what was drawn; outcomes are what they say. At budget b a trace that finished within b keeps its
own answer, a longer one has its fork's, and one that ran out of tokens before b has none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evals.budgets import Budget, limit_of
from evals.grading import Verdict
from evals.summary.replies import Reply, Run

NO_THINKING: tuple[Budget, ...] = (0, "none", "off")
"""The budgets that are thinking turned off, one for each axis."""
ESCAPE_FACTOR = 3
ESCAPE_QUANTILE = 0.95
ENOUGH_NATURAL = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """One reply at one budget, graded.

    key, offset: of the record that holds the answer. answer: as graded; None without one. group: the class of
    equivalent answers of its problem it is in, 0 for those graded right; None without an answer.
    natural_tokens: how long thinking would have been without a budget; None where that is not known.
    reply_tokens: tokens a server decodes for such a reply, inserted text excluded; None where not told.
    escaped: a forced reply that goes on reasoning in its answer, see `escape_length`.
    """

    key: str
    offset: int
    problem: str
    sample: int
    budget: Budget
    level: int | str | None
    subject: str | None
    set: str | None
    chance: float | None
    correct: bool
    verdict: Verdict
    answer: str | None
    group: int | None
    stop_cause: str | None
    finish_reason: str | None
    forced: bool
    escaped: bool
    thinking_tokens: int | None
    answer_tokens: int | None
    natural_tokens: int | None
    reply_tokens: int | None
    answer_probability: float | None
    stated_confidence: float | None


def outcomes(run: Run) -> list[Outcome]:
    """Outcomes of all stored replies at the run's budgets; budgets without a reply have no outcome.

    Direct replies of a forked run are a second way to the same points, and no outcomes here
    (`crosscheck_pairs` has them).
    """
    builder = _Builder(run)
    forked = run.manifest["settings"]["mode"] == "forked"
    return [
        builder.outcome(reply, budget, trace)
        for reply, budget, trace in _points(run.replies, run.budgets, forked)
        if run.scores is None or reply.score is not None
    ]


def crosscheck_pairs(run: Run, found: Iterable[Outcome]) -> list[tuple[Outcome, Outcome]]:
    """(forked, direct) for every point of a forked run that was drawn both ways; empty for a direct run."""
    if run.manifest["settings"]["mode"] != "forked":
        return []
    builder = _Builder(run)
    forked = {(o.problem, o.sample, o.budget): o for o in found}
    pairs = []
    for reply in run.replies:
        if reply.kind == "direct":
            first = forked.get((reply.problem, reply.sample, reply.budget))
            if first is not None and (run.scores is None or reply.score is not None):
                pairs.append((first, builder.outcome(reply, reply.budget, None)))
    return pairs


def _points(
    replies: Sequence[Reply], budgets: Sequence[Budget], forked: bool
) -> Iterable[tuple[Reply, Budget, Reply | None]]:
    """(reply that holds the answer, budget, trace it is a fork of)."""
    asked = set(budgets)
    forks = {(r.trace, r.budget): r for r in replies if r.kind == "fork"}
    for reply in replies:
        if reply.kind == "trace":
            for budget in budgets:
                if budget == 0:
                    continue
                fork = forks.get((reply.key, budget))
                if fork is not None:
                    yield fork, budget, reply
                elif limit_of(budget, reply.thinking_tokens or 0) >= (reply.thinking_tokens or 0):
                    yield reply, budget, None
        elif reply.budget in asked and (reply.kind == "no_think" or (reply.kind == "direct" and not forked)):
            yield reply, reply.budget, None


def escape_length(replies: Sequence[Reply]) -> float | None:
    """The number of answer tokens beyond which a forced reply counts as escaped.

    A forced reply has escaped its budget when its answer holds a thinking tag, or is more than three times as
    long as 95 % of the answers of this run whose thinking ended by itself: it goes on reasoning after the
    cut. None with fewer than 20 such answers, when tags alone decide.
    """
    lengths = [
        r.answer_tokens for r in replies if r.stop_cause == "natural" and r.answer_tokens and r.kind != "fork"
    ]
    if len(lengths) < ENOUGH_NATURAL:
        return None
    return ESCAPE_FACTOR * float(np.quantile(lengths, ESCAPE_QUANTILE))


class _Builder:
    """Makes outcomes of replies, with what has to be known of the whole run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._naturals = _natural_lengths(run.replies, run.greedy)
        self._stated = {r.of: r.stated_confidence for r in run.replies if r.kind == "confidence"}
        self._limit = escape_length(run.replies)
        self._groups = _groups(run)

    def outcome(self, reply: Reply, budget: Budget, trace: Reply | None) -> Outcome:
        graded = self._run.grades[reply.graded]
        forced = reply.forced
        right = _right(self._run, reply)
        # Thinking that ran out of tokens has no answer to grade, unless another harness found one in it.
        censored = reply.unfinished or graded.verdict is Verdict.CENSORED
        if self._run.scores is not None and right:
            censored = False
        decoded = (reply.cut or 0) if trace is not None else 0
        generated = reply.generated_tokens
        return Outcome(
            key=reply.key,
            offset=reply.offset,
            problem=reply.problem,
            sample=reply.sample,
            budget=budget,
            level=reply.level,
            subject=reply.subject,
            set=reply.set,
            chance=reply.chance,
            correct=right and not censored,
            verdict=Verdict.CENSORED if censored else _verdict(self._run, reply),
            answer=None if censored else graded.answer,
            group=None if censored or graded.answer is None else self._group(reply),
            stop_cause=reply.stop_cause,
            finish_reason=reply.finish_reason,
            forced=forced,
            escaped=forced
            and (
                reply.thinks_again or (self._limit is not None and (reply.answer_tokens or 0) > self._limit)
            ),
            thinking_tokens=reply.thinking_tokens,
            answer_tokens=reply.answer_tokens,
            natural_tokens=self._naturals.get((reply.problem, reply.sample)),
            reply_tokens=None if generated is None else decoded + generated,
            answer_probability=reply.answer_probability,
            stated_confidence=self._stated.get(reply.key),
        )

    def _group(self, reply: Reply) -> int:
        answer = self._run.grades[reply.graded].answer
        assert answer is not None
        return self._groups[reply.problem][answer, _right(self._run, reply)]


def _right(run: Run, reply: Reply) -> bool:
    """Whether the answer is right; by another harness's score, if it has full credit."""
    return run.grades[reply.graded].correct if run.scores is None else reply.score == 1


def _verdict(run: Run, reply: Reply) -> Verdict:
    if run.scores is None:
        return run.grades[reply.graded].verdict
    return Verdict.EQUAL if _right(run, reply) else Verdict.DIFFERENT


def _natural_lengths(replies: Sequence[Reply], greedy: bool) -> dict[tuple[str, int], int]:
    lengths = {}
    for reply in replies:
        known = reply.kind == "trace" or (greedy and reply.kind == "direct" and reply.budget == "max")
        if known and reply.stop_cause == "natural" and reply.thinking_tokens is not None:
            lengths[reply.problem, reply.sample] = reply.thinking_tokens
    return lengths


def _groups(run: Run) -> Mapping[str, Mapping[tuple[str, bool], int]]:
    """Of each problem, the class of each of its answers, which another harness may call right and wrong."""
    answers: dict[str, set[tuple[str, bool]]] = {}
    golds = {}
    for reply in run.replies:
        graded = run.grades[reply.graded]
        golds[reply.problem] = reply.gold
        found = answers.setdefault(reply.problem, set())
        if graded.answer is not None:
            found.add((graded.answer, _right(run, reply)))
    return {problem: run.grades.classes(golds[problem], found) for problem, found in answers.items()}
