"""Tries of a model at the candidates, stored as they come, so that a killed run goes on where it was."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from evals.grading import grade_many
from evals.problems import Problem
from serve.formats import ThinkingFormat
from trainer.curation.candidates import Candidate
from trainer.recipe.rl import Rollouts
from trainer.rollouts.text import to_completion
from trainer.rollouts.types import RolloutBackend, RolloutRequest, Sampling
from trainer.rows.conversation import plain_conversation, prompt_ids

BATCH = 128
"""Replies asked for, and stored, at a time."""


@dataclass(frozen=True, slots=True)
class Try:
    """One reply to a problem: whether its answer is right, and its text.

    thinking: None where no block was opened. finish_reason: `stop` or `length`.
    """

    right: bool
    thinking: str | None
    answer: str
    finish_reason: str


class Sampler:
    """Samples tries at problems from one checkpoint.

    Replies are kept in `folder`, a file for each kind of asking, one line a reply. Each reply's seed is a
    function of the run's seed, the problem and the try, so it does not matter which others are asked beside
    it, nor in which order; the same weights on other hardware may still round otherwise and differ in tokens.
    """

    def __init__(
        self,
        backend: RolloutBackend,
        form: ThinkingFormat,
        rollouts: Rollouts,
        folder: Path,
        seed: int,
        progress: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    ) -> None:
        self._backend = backend
        self._form = form
        self._rollouts = rollouts
        self._folder = folder
        self._seed = seed
        self._progress = progress

    def tries(
        self, candidates: Sequence[Candidate], samples: int, thinks: bool, temperature: float
    ) -> list[list[Try]]:
        """`samples` tries at each candidate, in their order; only those not yet stored are asked for.

        thinks: whether thinking is asked for; none is asked by the template's hard switch.
        """
        name = f"samples-{'think' if thinks else 'no_think'}-{temperature:g}.jsonl"
        stored = _read(self._folder / name)
        keys = [self._key(candidate.example.problem) for candidate in candidates]
        wanted = [
            (key, number, candidate)
            for key, candidate in dict(zip(keys, candidates, strict=True)).items()
            for number in range(samples)
            if (key, number) not in stored
        ]
        started = monotonic()
        with (self._folder / name).open("a", encoding="utf-8") as file:
            for begin in range(0, len(wanted), BATCH):
                batch = wanted[begin : begin + BATCH]
                for (key, number, _), result in zip(
                    batch, self._ask(batch, thinks, temperature), strict=True
                ):
                    stored[key, number] = result
                    row = {"key": key, "try": number, "right": result.right, "thinking": result.thinking}
                    row |= {"answer": result.answer, "finish_reason": result.finish_reason}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
                done = begin + len(batch)
                rate = done / (monotonic() - started)
                self._progress(
                    f"{name}: {done}/{len(wanted)} replies, {rate:.1f}/s, "
                    f"{(len(wanted) - done) / rate:.0f} s to go"
                )
        return [[stored[key, number] for number in range(samples)] for key in keys]

    def _ask(
        self, batch: Sequence[tuple[str, int, Candidate]], thinks: bool, temperature: float
    ) -> list[Try]:
        requests = [
            RolloutRequest(
                prompt_ids=tuple(prompt_ids(self._form, plain_conversation(candidate.example, thinks))),
                max_tokens=self._rollouts.max_tokens if thinks else self._rollouts.answer_tokens,
                seed=_number(f"{self._seed} {thinks} {key} {number}"),
                answer_tokens=self._rollouts.answer_tokens if thinks else 0,
            )
            for key, number, candidate in batch
        ]
        rollouts = self._backend.generate(requests, Sampling(temperature, self._rollouts.top_p))
        completions = [
            to_completion(rollout, candidate.example.problem, thinks, self._form.tokenizer, self._form)
            for rollout, (_, _, candidate) in zip(rollouts, batch, strict=True)
        ]
        grades = grade_many([(each.problem.answer, each.answer) for each in completions])
        return [
            Try(grade.correct, each.thinking, each.answer, each.finish_reason)
            for grade, each in zip(grades, completions, strict=True)
        ]

    def _key(self, problem: Problem) -> str:
        content = json.dumps([problem.problem, problem.messages, problem.answer])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def _read(path: Path) -> dict[tuple[str, int], Try]:
    """The tries in a file; a last line that a kill left unfinished is cut off."""
    if not path.is_file():
        return {}
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    rows: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]
    return {
        (row["key"], row["try"]): Try(row["right"], row["thinking"], row["answer"], row["finish_reason"])
        for row in rows
    }
