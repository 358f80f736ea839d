"""The replies that a page carries for its sample browser: which ones, and in what shape.

A page cannot hold every reply of a large run. Those that went wrong, and those that were right at a budget
and wrong at a larger one, are what a reader looks for: they come first, spread over levels and problems, and
the page says how many of how many it shows. Records are read one by one from the store.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import Any

from evals.questions import read_questions
from evals.records import Record, content_hash
from evals.store import read_record_at
from evals.summary.outcomes import Outcome
from evals.summary.replies import Run

MOST_CHARACTERS = 24_000_000
"""Of JSON in one page: more makes browsers slow to open it."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

Unit = tuple[str, int]
"""A problem and a sample."""


def page_samples(run: Run, found: Sequence[Outcome], limit: int) -> dict[str, Any]:
    """{"entries", "of", "several"}: at most `limit` problems and samples, each with its replies by budget."""
    units: dict[Unit, list[Outcome]] = {}
    for outcome in found:
        units.setdefault((outcome.problem, outcome.sample), []).append(outcome)
    order = {budget: place for place, budget in enumerate(run.budgets)}
    for replies in units.values():
        replies.sort(key=lambda o: order[o.budget])
    entries: dict[Unit, dict[str, Any]] = {}
    encoder = _Encoder(run)
    size = 0
    for unit in choose(units, limit):
        entry = encoder.entry(units[unit])
        size += len(json.dumps(entry))
        if size > MOST_CHARACTERS and entries:
            break
        entries[unit] = entry
    places = {problem: place for place, problem in enumerate(run.manifest["plan"]["problems"])}
    shown = sorted(entries, key=lambda unit: (places.get(unit[0], len(places)), unit))
    return {
        "entries": [entries[unit] for unit in shown],
        "of": len(units),
        "several": any(sample > 0 for _, sample in units),
    }


def choose(units: Mapping[Unit, Sequence[Outcome]], limit: int) -> list[Unit]:
    """At most `limit` units: flipped, wrong and right ones in turn, and of each the levels in turn.

    Within a level the order is that of a hash, so that the choice is the same each time and favours nobody;
    no problem comes twice before its level has no other.
    """
    strata: dict[str, dict[Any, list[Unit]]] = {"flipped": {}, "wrong": {}, "right": {}}
    for unit, replies in units.items():
        strata[_status(replies)].setdefault((replies[0].set, replies[0].level), []).append(unit)
    by_status = []
    for levels in strata.values():
        queues = [_spread(levels[level]) for level in sorted(levels, key=str)]
        by_status.append(list(_in_turn(queues)))
    return list(_in_turn(by_status))[:limit]


def _status(replies: Sequence[Outcome]) -> str:
    if any(before.correct and not after.correct for before, after in pairwise(replies)):
        return "flipped"
    return "right" if replies[-1].correct else "wrong"


def _spread(units: Iterable[Unit]) -> list[Unit]:
    """In the order of a hash, but first one of every problem, then a second of each, and so on."""
    seen: dict[str, int] = {}
    ranked = []
    for unit in sorted(units, key=content_hash):
        seen[unit[0]] = seen.get(unit[0], 0) + 1
        ranked.append((seen[unit[0]], unit))
    return [unit for _, unit in sorted(ranked, key=lambda pair: pair[0])]


def _in_turn(queues: Sequence[Sequence[Unit]]) -> Iterator[Unit]:
    for row in zip_longest(*queues):
        yield from (unit for unit in row if unit is not None)


class _Encoder:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._offsets = {r.key: r.offset for r in run.replies if r.kind == "trace"}
        self._questions = read_questions(run.directory)
        # At 0 every token of a model that is always sure would be a forking one.
        self._threshold = run.entropy.forking_threshold or None

    def entry(self, replies: Sequence[Outcome]) -> dict[str, Any]:
        """One problem and sample with its traces, and its replies in order of budget."""
        first = replies[0]
        traces: list[dict[str, Any]] = []
        places: dict[str, int] = {}
        rows: list[dict[str, Any]] = []
        first_with: dict[str, int] = {}
        gold = ""
        for outcome in replies:
            record = read_record_at(self._run.directory, outcome.offset)
            gold = record.gold
            source = record
            if record.trace is not None and record.trace not in places:
                source = read_record_at(self._run.directory, self._offsets[record.trace])
            key = record.trace or record.key
            if key not in places and source.thinking:
                places[key] = len(traces)
                traces.append(self._trace(source))
            rows.append({"index": len(rows), **_reply(outcome, record), "trace": places.get(key)})
            # A trace that ended by itself gives the same reply at every larger budget.
            rows[-1]["same"] = first_with.setdefault(outcome.key, len(rows) - 1)
        return {
            "id": first.problem,
            "sample": first.sample,
            "level": first.level,
            "subject": first.subject,
            "set": first.set,
            "gold": gold,
            "question": self._questions.get(first.problem),
            "traces": traces,
            "replies": rows,
        }

    def _trace(self, record: Record) -> dict[str, Any]:
        """The thinking: by token where the run stored the tokens' texts, else as one text."""
        logprobs = record.logprobs
        if logprobs is None or record.answer_tokens is None:
            return {"text": record.thinking, "lengths": None, "entropy": None, "threshold": None}
        end = len(logprobs.pieces) - record.answer_tokens
        pieces = logprobs.pieces[:end]
        return {
            "text": "".join(pieces),
            "lengths": [_utf16_length(piece) for piece in pieces],
            "entropy": None if logprobs.entropy is None else entropy_letters(logprobs.entropy[:end]),
            "threshold": None if logprobs.entropy is None else self._threshold,
        }


def _reply(outcome: Outcome, record: Record) -> dict[str, Any]:
    return {
        "budget": outcome.budget,
        "right": outcome.correct,
        "verdict": str(outcome.verdict),
        "cause": outcome.stop_cause,
        "cut": outcome.forced,
        "tokens": outcome.thinking_tokens,
        "final": outcome.answer,
        "answer": record.answer,
        "kept": _kept(outcome, record),
    }


def _kept(outcome: Outcome, record: Record) -> int | None:
    """How many tokens of the trace stand before the cut; None where it was not cut or that is not known."""
    if record.kind == "fork":
        return record.cut
    if not outcome.forced or record.logprobs is None:
        return None
    # A reply cut by the server: the tokens it put in have no probability.
    return next((i for i, value in enumerate(record.logprobs.chosen) if value is None), None)


def entropy_letters(entropies: Iterable[float | None]) -> str:
    """A letter a token: twenty times the square root of its entropy in nats, "." where it is not known."""
    return "".join("." if h is None else LETTERS[min(63, round(20 * math.sqrt(h)))] for h in entropies)


def _utf16_length(text: str) -> int:
    """The length of a text as browsers count it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
