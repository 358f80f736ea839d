"""Runs made without a server, for tests of the store and of what is computed from it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from evals.budgets import Budget
from evals.presets import GREEDY
from evals.records import Record
from evals.store import Store

SETTINGS: dict[str, Any] = {
    "problems": "made.jsonl",
    "model": "made/model",
    "max_model_len": 512,
    "mode": "forked",
    "thinking_format": {"open": "<think>", "stop_ids": [90, 91, 2]},
    "sampling": {**GREEDY.to_json(), "max_tokens": None, "seed": 0},
}
VERSIONS = {"thinkdial": "0"}

BLANK = Record(
    key="",
    kind="trace",
    problem="",
    level=1,
    subject="sums",
    chance=0.1,
    gold="7",
    sample=0,
    budget="max",
    stop_cause="natural",
    thinking_tokens=0,
    inserted_tokens=0,
    answer_tokens=5,
    generated_tokens=5,
    finish_reason="stop",
    seed=None,
    seconds=0.5,
    thinking="",
    answer=r"\boxed{7}",
)


def plan(*problems: str, budgets: tuple[Budget, ...] = (0, 8, "max"), samples: int = 1) -> dict[str, Any]:
    return {"budgets": list(budgets), "samples": samples, "problems": {p: f"hash of {p}" for p in problems}}


def trace(problem: str, length: int, answer: str = "7", cause: str = "natural", **fields: Any) -> Record:
    """An uncut reply of `length` thinking tokens with both tags and a five-token answer."""
    return replace(
        BLANK,
        key=f"{problem}/trace",
        problem=problem,
        thinking_tokens=length,
        generated_tokens=length + 7,
        stop_cause=cause,
        answer=rf"\boxed{{{answer}}}",
        **fields,
    )


def fork(of: Record, budget: int, answer: str = "7", **fields: Any) -> Record:
    return replace(
        of,
        key=f"{of.problem}/fork/{budget}",
        kind="fork",
        budget=budget,
        stop_cause="budget",
        thinking_tokens=budget,
        inserted_tokens=3,
        generated_tokens=5,
        finish_reason="stop",
        thinking=None,
        answer=rf"\boxed{{{answer}}}",
        trace=of.key,
        cut=budget + 1,
        **fields,
    )


def no_think(problem: str, answer: str = "7", **fields: Any) -> Record:
    return replace(
        BLANK,
        key=f"{problem}/no_think",
        kind="no_think",
        problem=problem,
        budget=0,
        stop_cause="disabled",
        answer=rf"\boxed{{{answer}}}",
        **fields,
    )


def write(directory: Path, records: list[Record], **options: Any) -> Path:
    """A finished run of `records`; `options` are those of `plan`."""
    problems = dict.fromkeys(record.problem for record in records)
    with Store.open(directory, SETTINGS, plan(*problems, **options), VERSIONS) as store:
        for record in records:
            store.add(record)
    return directory
