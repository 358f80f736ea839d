"""The teacher's replies: sampled in both modes, graded, kept on disk, and made rows of."""

import random
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from evals.grading import grade_many
from serve.formats import ThinkingFormat
from trainer.distill.prompts import Prompt, PromptStream
from trainer.progress.records import Records, read_records
from trainer.recipe.rl import Rollouts
from trainer.recipe.stages import OffPolicy
from trainer.rollouts.text import to_completion
from trainer.rollouts.types import RolloutBackend, Sampling
from trainer.rows.row import Row

CHUNK = 256
"""Replies sampled between two writes, over all processes."""


def sample_replies(
    path: Path, prompts: PromptStream, wanted: int, settings: Rollouts, backend: RolloutBackend
) -> None:
    """Fill the JSONL file `path` with the teacher's replies to the first `wanted` prompts, from its end on.

    A record has the prompt's number plus one as `step`, its mode, the reply's `token_ids`, which of them were
    `inserted`, its text, whether it is `right` and how it ended. Every process calls this.
    """
    state = PartialState()
    done = len(read_records(path))
    # Nobody appends before everyone has looked.
    state.wait_for_everyone()
    file = Records(path, done) if state.is_main_process else None
    sampling = Sampling(settings.temperature, settings.top_p)
    for first in range(done, wanted, CHUNK):
        numbers = range(first, min(wanted, first + CHUNK))
        own = [prompts.at(number) for number in numbers[state.process_index :: state.num_processes]]
        records = gather_object(_sample(own, settings, sampling, backend, prompts.form))
        if file is not None:
            for record in sorted(records, key=lambda record: record["step"]):
                file.append(record)
            print(f"teacher: {numbers[-1] + 1} of {wanted} replies", file=sys.stderr)
    if file is not None:
        file.close()
    state.wait_for_everyone()


def _sample(
    prompts: Sequence[Prompt],
    settings: Rollouts,
    sampling: Sampling,
    backend: RolloutBackend,
    form: ThinkingFormat,
) -> list[dict[str, Any]]:
    requests = [prompt.request(settings.max_tokens, settings.answer_tokens) for prompt in prompts]
    rollouts = backend.generate(requests, sampling) if requests else []
    completions = [
        to_completion(rollout, prompt.problem, prompt.thinks, form.tokenizer, form)
        for rollout, prompt in zip(rollouts, prompts, strict=True)
    ]
    grades = grade_many([(one.problem.answer, one.answer) for one in completions])
    return [
        {
            "step": prompt.number + 1,
            "thinks": prompt.thinks,
            "token_ids": rollout.token_ids,
            "inserted": [int(inserted) for inserted in rollout.inserted],
            "reply": completion.reply,
            "right": bool(grade.correct),
            "finish_reason": rollout.finish_reason,
        }
        for prompt, rollout, completion, grade in zip(prompts, rollouts, completions, grades, strict=True)
    ]


class TeacherRows:
    """Rows of the student's prompts and the teacher's replies to them, endless: each pass in another order.

    Left out are replies that ran into their limit, as they would teach not to end, and where `only_right`
    those that are wrong. longest: tokens of the longest row.
    """

    size = None

    def __init__(self, path: Path, prompts: PromptStream, settings: OffPolicy, seed: int) -> None:
        """Raises ValueError if no reply is left, or none in a mode that was asked for."""
        self.seed = seed
        self._rows = []
        asked = {"think": 0, "no_think": 0}
        for record in read_records(path):
            kind = "think" if record["thinks"] else "no_think"
            asked[kind] += 1
            if record["finish_reason"] == "stop" and (record["right"] or not settings.only_right):
                ids = prompts.at(record["step"] - 1).ids
                weights = [0.0] * len(ids) + [1.0 - inserted for inserted in record["inserted"]]
                self._rows.append(Row([*ids, *record["token_ids"]], weights, len(ids), kind))
        self.kept = {kind: sum(row.kind == kind for row in self._rows) for kind in asked}
        missing = [kind for kind, number in asked.items() if number and not self.kept[kind]]
        if missing:
            raise ValueError(
                f"off_policy: none of the teacher's {asked[missing[0]]} {missing[0]} replies can be used; "
                "give more problems, easier data, or only_right = false"
            )
        self.longest = max(len(row.ids) for row in self._rows)
        self._order = lru_cache(maxsize=2)(self._make_order)

    def at(self, index: int) -> Row:
        """Row `index`."""
        epoch, place = divmod(index, len(self._rows))
        return self._rows[self._order(epoch)[place]]

    def _make_order(self, epoch: int) -> list[int]:
        order = list(range(len(self._rows)))
        random.Random(f"{self.seed}-teacher-{epoch}").shuffle(order)
        return order
