"""Replies of the model a stage begins with: sampled to each problem, judged, and kept on disk."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from serve.formats import ThinkingFormat
from trainer.completion import Completion
from trainer.distill.prompts import Prompt, PromptStream
from trainer.preference.pairs import Judged
from trainer.progress.records import Records, read_records
from trainer.recipe.preference import Pairs
from trainer.rewards import RewardSet, Scored, build_rewards
from trainer.rollouts.text import to_completion
from trainer.rollouts.types import Rollout, RolloutBackend, RolloutRequest, Sampling
from trainer.seeds import derive_seed

CHUNK = 64
"""Problems answered between two writes, over all processes."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Replies to a prompt, and the record of them."""

    rollouts: list[Rollout]
    record: dict[str, Any]


def sample_replies(
    path: Path, prompts: PromptStream, wanted: int, settings: Pairs, backend: RolloutBackend
) -> None:
    """Fill the JSONL file `path` with judged replies to the first `wanted` prompts, from its end on.

    A record has the prompt's number plus one as `step`, its token ids, and of each reply the text, the
    tokens, its `score`, and whether it is `right` and `ended` by itself, uncut. Every process calls this.
    """
    state = PartialState()
    done = len(read_records(path))
    # Nobody appends before everyone has looked.
    state.wait_for_everyone()
    file = Records(path, done) if state.is_main_process else None
    for first in range(done, wanted, CHUNK):
        numbers = range(first, min(wanted, first + CHUNK))
        own = [prompts.at(number) for number in numbers[state.process_index :: state.num_processes]]
        answered = answer(own, settings.samples, settings, prompts.form, backend)
        records = gather_object([one.record for one in answered])
        if file is not None:
            for record in sorted(records, key=lambda record: record["step"]):
                file.append(record)
            print(f"pairs: {numbers[-1] + 1} of {wanted} problems answered", file=sys.stderr)
    if file is not None:
        file.close()
    state.wait_for_everyone()


def read_judged(record: dict[str, Any]) -> list[Judged]:
    """The replies of a record of `sample_replies`."""
    return [
        Judged(
            score=reply["score"],
            right=reply["right"],
            ended=reply["ended"],
            tokens=reply["inserted"].count(0),
            identity=tuple(reply["token_ids"]),
        )
        for reply in record["replies"]
    ]


def answer(
    prompts: Sequence[Prompt], samples: int, settings: Pairs, form: ThinkingFormat, backend: RolloutBackend
) -> list[Answered]:
    """Sampled and judged replies to each prompt; the n-th one has the same seed at every call."""
    rollouts = settings.rollouts
    assert rollouts is not None
    requests = [
        RolloutRequest(
            prompt.ids,
            rollouts.max_tokens,
            derive_seed(prompt.seed, sample),
            answer_tokens=rollouts.answer_tokens,
        )
        for prompt in prompts
        for sample in range(samples)
    ]
    if not requests:
        return []
    sampled = backend.generate(requests, Sampling(rollouts.temperature, rollouts.top_p))
    replies = [sampled[first : first + samples] for first in range(0, len(sampled), samples)]
    texts = [
        [to_completion(reply, prompt.problem, prompt.thinks, form.tokenizer, form) for reply in its]
        for prompt, its in zip(prompts, replies, strict=True)
    ]
    scores = pair_rewards(settings, form).score(texts, 0)
    return [
        Answered(its, _record(prompt, its, text, score))
        for prompt, its, text, score in zip(prompts, replies, texts, scores, strict=True)
    ]


def _record(
    prompt: Prompt, replies: Sequence[Rollout], texts: Sequence[Completion], scores: Sequence[Scored]
) -> dict[str, Any]:
    return {
        "step": prompt.number + 1,
        "problem": prompt.problem.problem,
        "answer": prompt.problem.answer,
        "thinks": prompt.thinks,
        "prompt_ids": prompt.ids,
        "replies": [
            {
                "reply": text.reply,
                "score": scored.total,
                "right": scored.parts["correctness"] == 1,
                "ended": reply.finish_reason == "stop" and not any(reply.inserted),
                "token_ids": reply.token_ids,
                "inserted": [int(inserted) for inserted in reply.inserted],
            }
            for reply, text, scored in zip(replies, texts, scores, strict=True)
        ],
    }


def pair_rewards(settings: Pairs, form: ThinkingFormat) -> RewardSet:
    """By what replies are compared. Raises ValueError as `build_rewards`."""
    return build_rewards(settings.rewards, (form.open, form.close), unverified=settings.rewards_unverified)
