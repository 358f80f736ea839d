"""How many replies and tokens a sweep takes, before it is asked.

Bounds follow from the plan. What is expected follows from the lengths of thinking and answers: those of
traces that the store already holds, or numbers given.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from evals.budgets import Budget, axis_of, limit_of
from evals.problems import Problem
from evals.records import Kind
from evals.store import MANIFEST, iter_records
from evals.sweep.crosscheck import is_crosschecked
from evals.sweep.dialects import thinks_not
from evals.sweep.endpoint import Endpoint
from evals.sweep.sampling import CONFIDENCE_TOKENS
from evals.sweep.settings import CONFIDENCE_PROMPT, SweepSettings

CHARACTERS_A_TOKEN = 3.5
"""Of English and mathematics in the tokenizers of 2024-26, roughly; used where no server counts."""
STATED_TOKENS = 4
"""Tokens of a stated confidence: a number and the end of turn."""


class Lengths(NamedTuple):
    """Thinking tokens of uncut replies (a sample of them), mean answer tokens, and where they come from."""

    thinking: Sequence[int]
    answer: float
    source: str

    def longer(self, budget: Budget) -> float:
        """Share of replies that a budget cuts."""
        return fmean(length > limit_of(budget, length) for length in self.thinking)

    def thought(self, budget: Budget) -> float:
        """Mean thinking tokens under a budget; effort levels count as no limit."""
        if thinks_not(budget):
            return 0.0
        if axis_of([budget]) == "effort":
            return fmean(self.thinking)
        return fmean(min(length, limit_of(budget, length)) for length in self.thinking)


@dataclass(frozen=True, slots=True)
class Amount:
    """Replies and tokens of one kind; generated is None where no limit is known."""

    replies: float = 0.0
    prompt: float = 0.0
    generated: float | None = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        known = self.generated is not None and other.generated is not None
        return Amount(
            self.replies + other.replies,
            self.prompt + other.prompt,
            (self.generated or 0.0) + (other.generated or 0.0) if known else None,
        )


@dataclass(frozen=True, slots=True)
class Forecast:
    """most: upper bounds by kind. expected: by kind, None where no lengths are known."""

    most: dict[Kind, Amount]
    expected: dict[Kind, Amount] | None


def total(amounts: Mapping[Kind, Amount]) -> Amount:
    """All kinds together."""
    return sum(amounts.values(), Amount())


def forecast(
    settings: SweepSettings,
    problems: Sequence[Problem],
    prompts: Sequence[float],
    endpoint: Endpoint | None,
    lengths: Lengths | None,
) -> Forecast:
    """Replies and tokens of a sweep. prompts: tokens of each problem's prompt."""
    stop = len(endpoint.thinking.stop_ids) if endpoint and endpoint.thinking else 0
    most: dict[Kind, Amount] = {}
    expected: dict[Kind, Amount] = {}

    def add(kind: Kind, count: float, chance: float, size: float, room: float | None, tokens: float) -> None:
        """count replies that happen with a chance, of prompts of that size."""
        bound = None if room is None else count * max(0.0, room)
        most[kind] = most.get(kind, Amount()) + Amount(count, count * size, bound)
        mean = count * chance
        tokens = tokens if room is None else min(tokens, max(0.0, room))
        expected[kind] = expected.get(kind, Amount()) + Amount(mean, mean * size, mean * tokens)

    for problem, size in zip(problems, prompts, strict=True):
        room = _room(settings, endpoint, size)
        for kind, budget in _asked(settings):
            answer = lengths.answer if lengths else 0.0
            chance, tokens, extra = 1.0, answer, 0.0
            count: float = settings.samples
            if kind == "fork":
                chance = lengths.longer(budget) if lengths else 0.0
                thought = budget if isinstance(budget, int) else lengths.thought(budget) if lengths else 0
                extra = thought + stop
            elif lengths:
                tokens = lengths.thought(budget) + answer
            add(kind, count, chance, size + extra, None if room is None else room - extra, tokens)
            if settings.confidence:
                turn = size + answer + len(CONFIDENCE_PROMPT) / CHARACTERS_A_TOKEN
                add("confidence", count, chance, turn, CONFIDENCE_TOKENS, STATED_TOKENS)
        checked = (
            budget
            for budget in settings.budgets
            for sample in range(settings.samples)
            if is_crosschecked(settings.crosscheck, settings.seed, problem.id, sample, budget)
        )
        for budget in checked:
            add("direct", 1, 1.0, size, room, lengths.thought(budget) + lengths.answer if lengths else 0.0)
    return Forecast(most, expected if lengths else None)


def _asked(settings: SweepSettings) -> Iterable[tuple[Kind, Budget]]:
    """The replies of one problem and sample, forks as if every budget cut its trace."""
    if settings.mode == "direct":
        yield from (("direct", budget) for budget in settings.budgets)
        return
    if 0 in settings.budgets:
        yield "no_think", 0
    if any(budget != 0 for budget in settings.budgets):
        yield "trace", "max"
    yield from (("fork", budget) for budget in settings.budgets if budget not in (0, "max"))


def _room(settings: SweepSettings, endpoint: Endpoint | None, size: float) -> float | None:
    """Most tokens of a reply; None where nobody says."""
    limits: list[float] = [] if settings.max_tokens is None else [settings.max_tokens]
    if endpoint is not None and endpoint.max_model_len is not None:
        limits.append(endpoint.max_model_len - size)
    return min(limits) if limits else None


def stored_lengths(directory: Path) -> Lengths | None:
    """Lengths of the uncut replies that a run directory holds; None if there are none."""
    if not (directory / MANIFEST).is_file():
        return None
    thinking, answers = [], []
    for record in iter_records(directory):
        uncut = record.kind == "trace" or (record.kind == "direct" and record.budget == "max")
        if uncut and record.thinking_tokens is not None and record.answer_tokens is not None:
            thinking.append(record.thinking_tokens)
            answers.append(record.answer_tokens)
    if not thinking:
        return None
    source = f"from {len(thinking)} stored traces: mean {fmean(thinking):.0f} thinking tokens"
    return Lengths(thinking, fmean(answers), source)
