"""A run's replies, reduced to what numbers need as the store is read: no token ids, no texts.

A hundred thousand replies with their tokens take gigabytes; what is counted of them takes megabytes.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any

from evals.account import Tally
from evals.budgets import Budget
from evals.grading import final_answer
from evals.records import Failure, Record
from evals.store import read_manifest, stream_records
from evals.summary.grades import Grades
from evals.summary.scores import SCORES, Scores
from evals.summary.token_entropy import EntropyTally
from evals.sweep.presets import is_greedy

UPSTREAM = "upstream"
"""The grader that is another harness: whoever made the scores beside the replies."""
FORCED = ("budget", "deadline", "soft", "loop", "confident", "client")
"""Stop causes of thinking that the model did not end itself."""


_NUMBER = r"(?<![0-9.])([0-9]{1,3}(?:\.[0-9]{1,6})?|\.[0-9]{1,6})"
_PERCENT = r"(\\?%| ?percent\b| ?/ ?100\b)"
_ALONE = re.compile(rf"\A[\s*_\"$]{{0,9}}{_NUMBER}\s?{_PERCENT}?[\s*_\"$.]{{0,9}}\Z")
_OF_HUNDRED = re.compile(rf"{_NUMBER}\s?{_PERCENT}")
_WORDS = r"(?:confiden\w{1,5}|probability|likelihood|certainty|sure)"
_AFTER_WORD = re.compile(rf"(?i:\b{_WORDS}\b)[^0-9.]{{0,30}}{_NUMBER}(?![0-9])()")
_STATED_TAIL = 2_000


@dataclass(frozen=True, slots=True)
class Reply:
    """One record, reduced.

    graded: index of its grade. score: another harness's, in [0, 1], where there is one.
    empty: there is no answer text.
    answer_probability: exp of the mean log probability of the tokens of the final answer; None without log
        probabilities or answer. stated_confidence: of a confidence record, as a share.
    thinks_again: the answer holds a thinking tag. offset: where its line starts in the store.
    """

    key: str
    kind: str
    problem: str
    level: int | str | None
    subject: str | None
    set: str | None
    chance: float | None
    gold: str
    sample: int
    budget: Budget
    stop_cause: str | None
    finish_reason: str | None
    thinking_tokens: int | None
    answer_tokens: int | None
    inserted_tokens: int | None
    generated_tokens: int | None
    prompt_tokens: int | None
    seconds: float | None
    attempts: int
    trace: str | None
    cut: int | None
    of: str | None
    graded: int
    score: float | None
    empty: bool
    answer_probability: float | None
    stated_confidence: float | None
    thinks_again: bool
    offset: int

    @property
    def forced(self) -> bool:
        """Whether thinking was ended for the model."""
        return self.stop_cause in FORCED

    @property
    def unfinished(self) -> bool:
        """Whether tokens ran out while it thought; servers that do not tell send no answer then."""
        silent = self.stop_cause is None and self.finish_reason == "length" and self.empty
        return self.stop_cause == "length" or silent


@dataclass(frozen=True, slots=True)
class Run:
    """Everything of a run that numbers are made of.

    failures: requests without a later reply. tally: counts of all records. scores: of another harness, where
    those say what is right.
    """

    directory: Path
    manifest: dict[str, Any]
    replies: list[Reply]
    failures: list[Failure]
    grades: Grades
    entropy: EntropyTally
    tally: Tally
    scores: Scores | None = None

    @property
    def grader(self) -> str:
        """Who says what is right."""
        return self.grades.grader if self.scores is None else self.scores.source

    @property
    def budgets(self) -> list[Budget]:
        """The budgets asked for, ascending."""
        budgets: list[Budget] = self.manifest["plan"]["budgets"]
        return budgets

    @property
    def greedy(self) -> bool:
        """Whether decoding was greedy, with thinking and without."""
        return is_greedy(self.manifest["settings"]["sampling"])


def read_run(directory: Path, grader: str = "thinkdial") -> Run:
    """Read, reduce and grade a run. Raises ValueError where there is none.

    grader: "thinkdial", "math-verify", "exact", or "upstream" for the scores in `scores.json`; replies
    without one are left out then, and our own grader still tells which answers are the same.
    """
    manifest = read_manifest(directory)
    scores = None
    if grader == UPSTREAM:
        scores = Scores.read(directory)
        if scores is None:
            raise ValueError(
                f"grader: {directory} has no {SCORES}, so nobody else scored it; give thinkdial, math-verify "
                "or exact"
            )
        grader = "thinkdial"
    format = manifest["settings"].get("thinking_format") or {}
    tags = (format.get("open", "<think>"), format.get("close", "</think>"))
    grades = Grades(directory, grader)
    forked = manifest["settings"]["mode"] == "forked"
    entropy = EntropyTally(manifest["plan"]["budgets"], format, forked)
    tally = Tally()
    replies: list[Reply] = []
    failures: dict[str, Failure] = {}
    for offset, entry in stream_records(directory):
        if isinstance(entry, Failure):
            failures[entry.key] = entry
            continue
        entropy.add(entry)
        tally.add(entry)
        replies.append(_reduce(entry, offset, grades, tags, scores))
    # Their order in the store is that of the server's answers: nothing may depend on it.
    replies.sort(key=lambda reply: reply.key)
    grades.settle()
    known = {reply.key for reply in replies}
    refused = [failure for failure in failures.values() if failure.key not in known]
    return Run(directory, manifest, replies, refused, grades, entropy, tally, scores)


def _reduce(
    record: Record, offset: int, grades: Grades, tags: tuple[str, str], scores: Scores | None
) -> Reply:
    is_answer = record.kind != "confidence"
    answer = final_answer(record.answer) if is_answer else None
    return Reply(
        key=record.key,
        kind=intern(record.kind),
        problem=intern(record.problem),
        level=record.level,
        subject=record.subject and intern(record.subject),
        set=record.set and intern(record.set),
        chance=record.chance,
        gold=intern(record.gold),
        sample=record.sample,
        budget=record.budget,
        stop_cause=record.stop_cause and intern(record.stop_cause),
        finish_reason=record.finish_reason and intern(record.finish_reason),
        thinking_tokens=record.thinking_tokens,
        answer_tokens=record.answer_tokens,
        inserted_tokens=record.inserted_tokens,
        generated_tokens=record.generated_tokens,
        prompt_tokens=record.prompt_tokens,
        seconds=record.seconds,
        attempts=record.attempts,
        trace=record.trace,
        cut=record.cut,
        of=record.of,
        graded=grades.add(record.gold, record.answer if is_answer else "", answer),
        score=None if scores is None else scores.values.get(record.key),
        empty=not record.answer.strip(),
        answer_probability=answer_probability(record, answer),
        stated_confidence=None if is_answer else stated_confidence(record.answer),
        thinks_again=any(tag in record.answer for tag in tags),
        offset=offset,
    )


def answer_probability(record: Record, answer: str | None) -> float | None:
    """exp of the mean log probability of the tokens of `answer`, the final answer as the grader finds it.

    That is the geometric mean of their probabilities. A token counts if any of its characters belongs to
    the answer; of several places the last counts. None without log probabilities, without a final answer, or
    where its text is not found in the tokens.
    """
    logprobs = record.logprobs
    if logprobs is None or not answer:
        return None
    start = len(logprobs.pieces) - (record.answer_tokens or 0)
    pieces, chosen = logprobs.pieces[start:], logprobs.chosen[start:]
    return span_probability(pieces, chosen, answer)


def span_probability(pieces: Sequence[str], chosen: Sequence[float | None], answer: str) -> float | None:
    """exp of the mean of `chosen`, the pieces' log probabilities, where they spell `answer` last."""
    text = "".join(pieces)
    first = text.rfind(answer)
    if first < 0:
        return None
    inside, end = [], len(text)
    # From the end, where answers are.
    for piece, value in zip(reversed(pieces), reversed(chosen), strict=True):
        start = end - len(piece)
        if start < first + len(answer) and end > first and value is not None:
            inside.append(value)
        if start <= first:
            break
        end = start
    return math.exp(math.fsum(inside) / len(inside)) if inside else None


def stated_confidence(text: str) -> float | None:
    """A stated confidence as a share: "80%", "80", "0.8", "80/100" and "Confidence: 80" are 0.8.

    It is a reply that is one number, else the last number of a hundred, else the last after a word such as
    "confidence". A whole number is percent, as it is asked for (1 is one percent); a fraction up to 1 without
    a percent sign is a share. None without such a number, or above 100 %: a model that answers the problem
    once more has not said how sure it is.
    """
    tail = text[-_STATED_TAIL:]
    found = _ALONE.findall(text) or _OF_HUNDRED.findall(tail) or _AFTER_WORD.findall(tail)
    if not found:
        return None
    number, percent = found[-1]
    value = float(number)
    if percent or "." not in number or value > 1:
        value /= 100
    return value if value <= 1 else None
