"""Runs made without a server, for tests of the store and of what is computed from it.

Small ones are put together from single records, so that numbers can be worked out by hand; large ones are
drawn by `evals.bench.simulated_run` (`simulated` here).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evals.bench.simulated_run import Simulation, write_simulation
from evals.budgets import Budget
from evals.records import Record, TokenLogprobs
from evals.store import Store

OPEN, CLOSE, END = 90, 91, 2
STOP_IDS = [80, CLOSE, 81]
SETTINGS: dict[str, Any] = {
    "problems": ["made"],
    "model": "made/model",
    "max_model_len": 512,
    "mode": "forked",
    "axis": "tokens",
    "dialect": "thinkdial",
    "thinking_format": {
        "open": "<think>",
        "close": "</think>",
        "open_id": OPEN,
        "close_id": CLOSE,
        "opened_by": "model",
        "stop_text": "stop</think>\n",
        "stop_ids": STOP_IDS,
    },
    "logprobs": None,
    "sampling": {
        "preset": "greedy",
        "thinking": {"temperature": 0.0},
        "no_thinking": {"temperature": 0.0},
        "max_tokens": None,
        "seed": 0,
    },
}
SAMPLED = {
    "sampling": {
        "preset": "qwen3",
        "thinking": {"temperature": 0.6, "top_p": 0.95, "top_k": 20},
        "no_thinking": {"temperature": 0.7, "top_p": 0.8, "top_k": 20},
        "max_tokens": None,
        "seed": 0,
    }
}
"""Settings to pass to `write` for a run that is not greedy."""
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
        key=f"{problem}/{fields.get('sample', 0)}/trace",
        problem=problem,
        thinking_tokens=length,
        generated_tokens=length + 7,
        stop_cause=cause,
        answer=rf"\boxed{{{answer}}}",
        **fields,
    )


def fork(of: Record, budget: int, answer: str = "7", **fields: Any) -> Record:
    defaults: dict[str, Any] = {
        "key": f"{of.problem}/{of.sample}/fork/{budget}",
        "kind": "fork",
        "budget": budget,
        "stop_cause": "budget",
        "thinking_tokens": budget,
        "inserted_tokens": 3,
        "answer_tokens": 5,
        "generated_tokens": 5,
        "finish_reason": "stop",
        "thinking": None,
        "answer": rf"\boxed{{{answer}}}",
        "trace": of.key,
        "cut": budget + 1,
        "token_ids": None,
        "logprobs": None,
    }
    return replace(of, **(defaults | fields))


def no_think(problem: str, answer: str = "7", **fields: Any) -> Record:
    return replace(
        BLANK,
        key=f"{problem}/{fields.get('sample', 0)}/no_think",
        kind="no_think",
        problem=problem,
        budget=0,
        stop_cause="disabled",
        answer=rf"\boxed{{{answer}}}",
        **fields,
    )


def direct(problem: str, budget: Budget, answer: str = "7", **fields: Any) -> Record:
    """A direct reply; its stop cause is not told unless given, as servers other than ours do."""
    defaults: dict[str, Any] = {
        "key": f"{problem}/{fields.get('sample', 0)}/direct/{budget}",
        "kind": "direct",
        "problem": problem,
        "budget": budget,
        "stop_cause": None,
        "answer": rf"\boxed{{{answer}}}",
    }
    return replace(BLANK, **(defaults | fields))


def confidence(of: Record, stated: str) -> Record:
    """What the model says of a reply when asked how sure it is."""
    return replace(of, key=f"{of.key}/confidence", kind="confidence", answer=stated, of=of.key, trace=None)


def with_tokens(
    record: Record, thinking: Sequence[float] | None, answer: Sequence[tuple[str, float]]
) -> Record:
    """The record with token ids and log probabilities.

    thinking: the entropy of each thinking token, None for a record that holds its answer only (a fork, or
    no thinking). answer: text and log probability of each token of the answer.
    """
    before = [] if thinking is None else [OPEN, *range(100, 100 + len(thinking)), CLOSE]
    tail = [*range(200, 199 + len(answer)), END]
    entropy = [] if thinking is None else [0.0, *thinking, 0.0]
    return replace(
        record,
        answer="".join(piece for piece, _ in answer),
        answer_tokens=len(answer),
        token_ids=[*before, *tail],
        logprobs=TokenLogprobs(
            pieces=[*(f" {token}" for token in before), *(piece for piece, _ in answer)],
            chosen=[*(-0.5 for _ in before), *(value for _, value in answer)],
            top=5,
            entropy=[*entropy, *(0.1 for _ in answer)],
            rest=[0.01 for _ in [*before, *tail]],
        ),
    )


def write(
    directory: Path, records: list[Record], settings: dict[str, Any] | None = None, **options: Any
) -> Path:
    """A finished run of `records`; `settings` replace those of SETTINGS, `options` are those of `plan`."""
    problems = dict.fromkeys(record.problem for record in records)
    asked = SETTINGS | (settings or {})
    with Store.open(directory, asked, plan(*problems, **options), VERSIONS) as store:
        for record in records:
            store.add(record)
    return directory


def simulated(directory: Path, **options: Any) -> Path:
    """A run drawn from a simple law; `options` are those of `Simulation`."""
    directory.mkdir(parents=True, exist_ok=True)
    write_simulation(directory, Simulation(**options))
    return directory
