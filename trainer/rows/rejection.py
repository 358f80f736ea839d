"""Rejection sampling: the model's own thinking on the data's problems, of which right replies are kept.

Qwen3's fusion stage takes its thinking half so from the RL model (Qwen3 report, arXiv 2505.09388, section
4.3): the model keeps its own way of thinking while it learns not to think.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState

from evals.grading import grade_many
from evals.problems import Problem
from serve.formats import ThinkingFormat
from trainer.examples import Example
from trainer.recipe.stages import Rejection
from trainer.rollouts.text import to_completion
from trainer.rollouts.types import Rollout, RolloutBackend, RolloutRequest, Sampling
from trainer.rows.conversation import plain_conversation, prompt_ids
from trainer.sources import ExampleStream

BLOCK = 512
"""Problems sampled together, written together, and begun anew when a run is killed in their midst."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One reply, and why it was dropped; None if it was kept."""

    index: int
    thinking: str
    response: str
    tokens: int
    dropped: str | None


class Kept:
    """Kept replies as a source of examples."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.size: int | None = len(examples)
        self._examples = examples

    def at(self, index: int) -> Example:
        """Example `index`, for 0 <= index < size."""
        return self._examples[index]


def sample_thinking(
    settings: Rejection,
    backend: RolloutBackend,
    form: ThinkingFormat,
    examples: ExampleStream,
    seed: int,
    folder: Path,
) -> None:
    """Sample replies to the first `settings.problems` problems into `folder`, a file for each block of them.

    With several processes each samples its share of the blocks. Files are written whole: a resumed run does
    only what is missing.
    """
    state = PartialState()
    folder.mkdir(parents=True, exist_ok=True)
    for block in missing_blocks(settings, folder)[state.process_index :: state.num_processes]:
        indices = range(block * BLOCK, min((block + 1) * BLOCK, settings.problems))
        samples = _sample_block(settings, backend, form, examples, seed, indices)
        path = _path(folder, block)
        partial = path.with_suffix(".partial")
        partial.write_text("".join(_line(sample, examples) for sample in samples), encoding="utf-8")
        partial.replace(path)
        counts = Counter(sample.dropped or "kept" for sample in samples)
        print(f"rejection sampling, problems {indices[0]} to {indices[-1]}: {dict(counts)}", file=sys.stderr)


def missing_blocks(settings: Rejection, folder: Path) -> list[int]:
    """The blocks of problems that are still to be sampled; the same on every process until one samples."""
    blocks = range(-(-settings.problems // BLOCK))
    missing = [block for block in blocks if not _path(folder, block).exists()]
    PartialState().wait_for_everyone()
    return missing


def read_kept(folder: Path, seed: int) -> ExampleStream:
    """The kept replies of a finished sampling, as a stream.

    Raises ValueError if there are none, with the reasons.
    """
    kept, reasons = [], Counter[str]()
    for record in _records(folder):
        if record["dropped"] is None:
            problem = Problem(**{**record["problem"], "messages": _turns(record["problem"]["messages"])})
            kept.append(Example(problem, record["thinking"], record["response"]))
        else:
            reasons[record["dropped"]] += 1
    if not kept:
        raise ValueError(
            f"rejection: none of {reasons.total()} sampled replies was kept: {dict(reasons)}; begin with a "
            "checkpoint that solves some of the problems, or give more max_tokens"
        )
    return ExampleStream([Kept(kept)], [1.0], seed)


def _sample_block(
    settings: Rejection,
    backend: RolloutBackend,
    form: ThinkingFormat,
    examples: ExampleStream,
    seed: int,
    indices: Sequence[int],
) -> list[Sample]:
    rollouts = settings.rollouts
    requests = [
        RolloutRequest(
            prompt_ids=tuple(prompt_ids(form, plain_conversation(examples.at(index)))),
            max_tokens=rollouts.max_tokens,
            seed=_seed(seed, index, attempt),
            answer_tokens=rollouts.answer_tokens,
        )
        for index in indices
        for attempt in range(settings.samples)
    ]
    replies = backend.generate(requests, Sampling(rollouts.temperature, rollouts.top_p))
    completions = [
        to_completion(reply, examples.at(index).problem, True, form.tokenizer, form)
        for reply, index in zip(replies, (i for i in indices for _ in range(settings.samples)), strict=True)
    ]
    grades = grade_many([(completion.problem.answer, completion.answer) for completion in completions])
    samples: list[Sample] = []
    for number, index in enumerate(indices):
        mine = slice(number * settings.samples, (number + 1) * settings.samples)
        tried = [
            Sample(
                index,
                completion.thinking or "",
                completion.answer.strip("\n"),
                completion.tokens,
                malformed(reply, form) or (None if grade.correct else "wrong"),
            )
            for reply, completion, grade in zip(replies[mine], completions[mine], grades[mine], strict=True)
        ]
        samples.extend(choose(tried, settings))
    return samples


def malformed(reply: Rollout, form: ThinkingFormat) -> str | None:
    """What keeps a reply from being an example of thinking, whether right or not."""
    if reply.finish_reason != "stop":
        return "not ended"
    if reply.stop_cause != "natural":
        return f"thinking ended by {reply.stop_cause}"
    by_model = 0 if form.opened_by == "template" else 1
    if reply.token_ids.count(form.open_id) != by_model or reply.token_ids.count(form.close_id) != 1:
        return "not one block"
    return None


def choose(tried: Sequence[Sample], settings: Rejection) -> list[Sample]:
    """The samples of one problem, of which at most `settings.keep` different ones stay kept."""
    order = sorted(tried, key=lambda sample: sample.tokens) if settings.shortest else list(tried)
    kept: set[tuple[str, str]] = set()
    chosen = []
    for sample in order:
        text = (sample.thinking, sample.response)
        dropped = sample.dropped
        if dropped is None and text in kept:
            dropped = "repeated"
        elif dropped is None and len(kept) == settings.keep:
            dropped = "enough of this problem"
        if dropped is None:
            kept.add(text)
        chosen.append(Sample(sample.index, *text, sample.tokens, dropped))
    return chosen


def _line(sample: Sample, examples: ExampleStream) -> str:
    record = {**asdict(sample), "problem": asdict(examples.at(sample.index).problem)}
    return json.dumps(record, ensure_ascii=False) + "\n"


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            yield json.loads(line)


def _turns(messages: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((role, text) for role, text in messages)


def _path(folder: Path, block: int) -> Path:
    return folder / f"{block:06d}.jsonl"


def _seed(seed: int, index: int, attempt: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}-{index}-{attempt}".encode()).digest()[:4], "big")
