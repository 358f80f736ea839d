"""An ablation's stores made by hand, so that its numbers can be worked out on paper."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evals.budgets import Budget, limit_of
from evals.records import Record, TokenLogprobs
from evals.store import SAMPLES, Store
from trainer.ablation.measure import curve_folder, half_folder, modes_file

SETTINGS: dict[str, Any] = {
    "problems": ["made"],
    "model": "made",
    "max_model_len": 512,
    "mode": "forked",
    "axis": "tokens",
    "dialect": "thinkdial",
    "thinking_format": {"open": "<think>", "close": "</think>", "stop_text": "", "stop_ids": []},
    "logprobs": None,
    "sampling": {"thinking": {"temperature": 0.0}, "no_thinking": {"temperature": 0.0}},
}


@dataclass(frozen=True)
class Made:
    """One problem's replies. right: at which budgets; natural: whether thinking ended by itself."""

    length: int
    right: Sequence[Budget]
    natural: bool = True


@dataclass(frozen=True)
class MadeStage:
    """problems by id; followed: of each way of switching, ones and zeros by problem."""

    problems: Mapping[str, Made]
    followed: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)


def write_stage(out: Path, name: str, stage: MadeStage, budgets: Sequence[Budget]) -> None:
    """The stores of one stage, as a measurement leaves them."""
    _write(curve_folder(out, name), stage, budgets, "tokens")
    _write(half_folder(out, name), stage, (0, "50%", "max"), "share")
    replies = [
        {"problem": problem, "way": way, "thinks": True, "thought": ok, "followed": ok}
        for way, ones in stage.followed.items()
        for problem, ok in ones.items()
    ]
    modes_file(out, name).parent.mkdir(parents=True, exist_ok=True)
    modes_file(out, name).write_text(json.dumps({"asked": {}, "replies": replies}), "utf-8")


def write_sampled(folder: Path, replies: Mapping[str, tuple[bool, float]]) -> None:
    """A run of sampled replies: of each problem whether its answer is right, and the answer's probability."""
    plan = {
        "budgets": ["max"],
        "samples": 1,
        "problems": {problem: f"hash of {problem}" for problem in replies},
    }
    with Store.open(folder, SETTINGS, plan, {}):
        lines = ""
        for problem, (right, probability) in replies.items():
            made = Made(20, ["max"] if right else [])
            record = _record(problem, made, "trace", "max", "natural", 20)
            pieces = [r"\boxed{", record.answer[-2], "}"]
            logprobs = TokenLogprobs(pieces, [-1.0, math.log(probability), -2.0], 0)
            lines += json.dumps(replace(record, answer_tokens=3, logprobs=logprobs).to_json()) + "\n"
        (folder / SAMPLES).write_text(lines, "ascii")


def _write(folder: Path, stage: MadeStage, budgets: Sequence[Budget], axis: str) -> None:
    plan = {
        "budgets": list(budgets),
        "samples": 1,
        "problems": {problem: f"hash of {problem}" for problem in stage.problems},
    }
    with Store.open(folder, SETTINGS | {"axis": axis}, plan, {}):
        records = [record for item in stage.problems.items() for record in _replies(*item, budgets)]
        # All at once: the store itself syncs after each.
        lines = "".join(json.dumps(record.to_json()) + "\n" for record in records)
        (folder / SAMPLES).write_text(lines, "ascii")


def _replies(problem: str, made: Made, budgets: Sequence[Budget]) -> Iterator[Record]:
    yield _record(problem, made, "no_think", 0, "disabled", 0)
    yield _record(problem, made, "trace", "max", "natural" if made.natural else "length", made.length)
    for budget in budgets:
        limit = limit_of(budget, made.length)
        if 0 < limit < made.length:
            yield _record(problem, made, "fork", budget, "budget", int(limit))


def _record(problem: str, made: Made, kind: Any, budget: Budget, cause: str, thinking: int) -> Record:
    return Record(
        key=f"{problem}/{kind}/{budget}",
        kind=kind,
        problem=problem,
        level=1,
        subject="sums",
        chance=0.1,
        gold="7",
        sample=0,
        budget=budget,
        stop_cause=cause,
        thinking_tokens=thinking,
        inserted_tokens=0,
        answer_tokens=5,
        generated_tokens=5,
        finish_reason="stop" if cause != "length" else "length",
        seed=None,
        seconds=0.1,
        thinking=None,
        answer=r"\boxed{7}" if budget in made.right else r"\boxed{8}",
        trace=f"{problem}/trace/max" if kind == "fork" else None,
        cut=thinking + 1 if kind == "fork" else None,
    )
