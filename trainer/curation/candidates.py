"""What curation works on: candidates with what was measured of them, and what becomes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trainer.examples import Example


@dataclass(frozen=True, slots=True)
class Candidate:
    """An example, and what steps measured of it (JSON values, kept as further columns of its row)."""

    example: Example
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A candidate that a step left out: why in few words, the same for all its kind, and what shows it."""

    candidate: Candidate
    reason: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step makes of its candidates: each is in one of the two."""

    kept: list[Candidate]
    dropped: list[Dropped]


class Filter(Protocol):
    """A step of curation. The same candidates in the same order give the same outcome."""

    def __call__(self, candidates: Sequence[Candidate]) -> Outcome: ...


def each(candidates: Sequence[Candidate], judge: "Judge") -> Outcome:
    """The outcome of a filter that judges candidates one by one."""
    outcome = Outcome([], [])
    for candidate in candidates:
        verdict = judge(candidate)
        if verdict is None:
            outcome.kept.append(candidate)
        else:
            outcome.dropped.append(Dropped(candidate, *verdict))
    return outcome


class Judge(Protocol):
    """The reason to drop a candidate, with evidence; None keeps it."""

    def __call__(self, candidate: Candidate) -> tuple[str, Mapping[str, Any]] | None: ...


def question_text(example: Example) -> str:
    """All that is asked: the problem, or the text of all turns of a problem with several."""
    turns = example.problem.messages
    return "\n".join(text for _, text in turns) if turns else example.problem.problem


def as_row(candidate: Candidate) -> dict[str, Any]:
    """A row that a `jsonl` source reads back as the same example, its notes beside."""
    example = candidate.example
    problem = example.problem
    row: dict[str, Any] = {"id": problem.id}
    if problem.messages:
        row["messages"] = [{"role": role, "content": text} for role, text in problem.messages]
    else:
        row["problem"] = problem.problem
    members = {
        "answer": problem.answer or None,
        "thinking": example.thinking,
        "response": example.response,
        "level": problem.level,
        "subject": problem.subject,
        "chance": problem.chance,
        "set": problem.set or None,
    }
    row |= {name: value for name, value in members.items() if value is not None}
    return row | {name: value for name, value in candidate.notes.items() if name not in row}
