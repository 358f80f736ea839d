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
from evals.grades import Grades
from evals.grading import final_answer
from evals.presets import is_greedy
from evals.records import Failure, Record
from evals.store import read_manifest, stream_records
from evals.token_entropy import EntropyTally

FORCED = ("budget", "deadline", "soft", "loop", "confident", "client")
"""Stop causes of thinking that the model did not end itself."""


_STATED = re.compile(r"(?<![0-9.])([0-9]{1,6}(?:\.[0-9]{1,6})?|\.[0-9]{1,6})\s{0,3}(\\?%|percent)?")


@dataclass(frozen=True, slots=True)
class Reply:
    """One record, reduced.

    graded: index of its grade. empty: there is no answer text.
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
    inserted_tokens: int
    generated_tokens: int
    prompt_tokens: int | None
    seconds: float
    attempts: int
    trace: str | None
    cut: int | None
    of: str | None
    graded: int
    empty: bool
    answer_probability: float | None
    stated_confidence: float | None
    thinks_again: bool
    offset: int

    @property
    def forced(self) -> bool:
        """Whether thinking was ended for the model."""
        return self.stop_cause in FORCED


@dataclass(frozen=True, slots=True)
class Run:
    """Everything of a run that numbers are made of.

    failures: requests without a later reply. tally: counts of all records.
    """

    directory: Path
    manifest: dict[str, Any]
    replies: list[Reply]
    failures: list[Failure]
    grades: Grades
    entropy: EntropyTally
    tally: Tally

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
    """Read, reduce and grade a run. Raises ValueError where there is none."""
    manifest = read_manifest(directory)
    format = manifest["settings"].get("thinking_format") or {}
    tags = (format.get("open", "<think>"), format.get("close", "</think>"))
    grades = Grades(directory, grader)
    entropy = EntropyTally(manifest["plan"]["budgets"], format)
    tally = Tally()
    replies: list[Reply] = []
    failures: dict[str, Failure] = {}
    for offset, entry in stream_records(directory):
        if isinstance(entry, Failure):
            failures[entry.key] = entry
            continue
        entropy.add(entry)
        tally.add(entry)
        replies.append(_reduce(entry, offset, grades, tags))
    # Their order in the store is that of the server's answers: nothing may depend on it.
    replies.sort(key=lambda reply: reply.key)
    grades.settle()
    known = {reply.key for reply in replies}
    refused = [failure for failure in failures.values() if failure.key not in known]
    return Run(directory, manifest, replies, refused, grades, entropy, tally)


def _reduce(record: Record, offset: int, grades: Grades, tags: tuple[str, str]) -> Reply:
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
    return _span_probability(pieces, chosen, answer)


def _span_probability(pieces: Sequence[str], chosen: Sequence[float | None], answer: str) -> float | None:
    first = "".join(pieces).rfind(answer)
    if first < 0:
        return None
    end, position, inside = first + len(answer), 0, []
    for piece, value in zip(pieces, chosen, strict=True):
        if position < end and position + len(piece) > first and value is not None:
            inside.append(value)
        position += len(piece)
    return math.exp(math.fsum(inside) / len(inside)) if inside else None


def stated_confidence(text: str) -> float | None:
    """The last number of a stated confidence, as a share: "80%", "80 %", "80" and "0.8" are 0.8.

    A whole number is percent, as it is asked for (1 is one percent); a fraction up to 1 without a percent
    sign is a share. None without a number, or above 100 %.
    """
    found = _STATED.findall(text)
    if not found:
        return None
    number, percent = found[-1]
    value = float(number)
    if percent or "." not in number or value > 1:
        value /= 100
    return value if value <= 1 else None
