"""Rollouts by transformers alone, on any device: the fallback, and the reference the engine is compared with.

One decoding loop, in which a row either samples its next token or is fed an inserted one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel

from serve.formats import load_format
from serve.segments import BARRED
from trainer.adapters import merged_weights
from trainer.rollouts.cut import Reply, begin_replies
from trainer.rollouts.probe import probe_ids, probe_model, verify
from trainer.rollouts.types import Rollout, RolloutRequest, Sampling, SyncReport

ROWS = 128
"""Replies decoded at once."""


@dataclass(eq=False, slots=True)
class Row:
    """A reply in the batch. fed: tokens of it that are in the cache. left: tokens left to its segment."""

    reply: Reply
    generator: torch.Generator
    barred: bool
    left: int
    fed: int

    def next_segment(self) -> None:
        segment = self.reply.segment()
        self.generator.manual_seed(segment.seed)
        self.barred, self.left = segment.barred, segment.max_tokens


class TransformersBackend:
    """A `RolloutBackend` on a copy of the model, kept beside the trainer's.

    checkpoint: folder of the model to begin with. tolerance: of the probe, in nats.
    """

    def __init__(self, checkpoint: Path, *, dtype: str = "float32", tolerance: float = 0.02) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            checkpoint, dtype=getattr(torch, dtype)
        )
        self.model.requires_grad_(False).eval().to(self.device)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.form = load_format(tokenizer, checkpoint)
        self.context: int = self.model.config.max_position_embeddings
        self.end_ids = end_of_turn_ids(self.model, tokenizer.eos_token_id)
        self.probe = probe_ids(tokenizer)
        self.tolerance = tolerance
        self.version = 0

    def generate(
        self, requests: Sequence[RolloutRequest], sampling: Sampling, tokens_per_call: int | None = None
    ) -> list[Rollout]:
        """See `RolloutBackend`."""
        replies = begin_replies(
            requests, self.form, self.context, version=self.version, tokens_per_call=tokens_per_call
        )
        for start in range(0, len(replies), ROWS):
            self._decode(replies[start : start + ROWS], sampling)
        return [reply.rollout() for reply in replies]

    @torch.no_grad()
    def _decode(self, replies: Sequence[Reply], sampling: Sampling) -> None:
        rows = [Row(reply, torch.Generator(), False, 0, 0) for reply in replies]
        starts = []
        for row in rows:
            row.next_segment()
            starts.append(row.reply.segment().prompt_ids)
            row.fed = len(row.reply.token_ids)
        width = max(map(len, starts))
        ids = torch.tensor([[0] * (width - len(start)) + start for start in starts], device=self.device)
        mask = torch.tensor([[0] * (width - len(start)) + [1] * len(start) for start in starts])
        mask = mask.to(self.device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self.model.config)
        while True:
            logits = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            self._sample(rows, logits.float().cpu(), sampling)
            going = [index for index, row in enumerate(rows) if not row.reply.finished]
            if not going:
                return
            if len(going) < len(rows):
                rows = [rows[index] for index in going]
                chosen = torch.tensor(going, device=self.device)
                cache.batch_select_indices(chosen)
                mask, positions = mask[chosen], positions[chosen]
            ids = torch.tensor([[row.reply.token_ids[row.fed]] for row in rows], device=self.device)
            for row in rows:
                row.fed += 1
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            positions = positions[:, -1:] + 1

    def _sample(self, rows: Sequence[Row], logits: torch.Tensor, sampling: Sampling) -> None:
        """One token for each row that waits for one; again without the open tag where it was barred."""
        waiting = [index for index, row in enumerate(rows) if row.fed == len(row.reply.token_ids)]
        while waiting:
            chosen = [rows[index] for index in waiting]
            scores = logits[waiting]
            scores[[row.barred for row in chosen], self.form.open_id] += BARRED
            tokens, logprobs = draw(scores, sampling, [row.generator for row in chosen])
            for row, token, logprob in zip(chosen, tokens, logprobs, strict=True):
                row.left -= 1
                end = "stop" if token in self.end_ids else "length" if row.left == 0 else None
                if not row.reply.feed([token], [logprob], end) and not row.reply.finished:
                    row.next_segment()
            waiting = [i for i in waiting if self._waits(rows[i])]

    @staticmethod
    def _waits(row: Row) -> bool:
        return not row.reply.finished and row.fed == len(row.reply.token_ids)

    def sync(self, model: PreTrainedModel, version: int) -> SyncReport:
        """See `RolloutBackend`."""
        start = monotonic()
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, weight in merged_weights(model):
                own[name].copy_(weight)
        probed = probe_model(self.model, self.probe)
        largest, mean = verify(probed, model, self.probe, self.tolerance, version)
        self.version = version
        return SyncReport(version, monotonic() - start, largest, mean)

    def close(self) -> None:
        """Nothing runs beside this process."""


def end_of_turn_ids(model: PreTrainedModel, eos_token_id: int) -> frozenset[int]:
    """The tokens that end a reply, as vLLM takes them: the tokenizer's, and the generation config's."""
    configured = model.generation_config.eos_token_id
    more = [configured] if isinstance(configured, int) else configured or []
    return frozenset([eos_token_id, *more])


def draw(
    logits: torch.Tensor, sampling: Sampling, generators: Sequence[torch.Generator]
) -> tuple[list[int], list[float]]:
    """A token for each row of float32 logits [rows, vocabulary], and its log-probability as it was drawn.

    As vLLM's native sampler draws: the largest of probability / exponential noise.
    """
    if sampling.temperature == 0:
        tokens = logits.argmax(-1)
        logprobs = logits.log_softmax(-1)
    else:
        logits = logits / sampling.temperature
        if sampling.top_p < 1:
            ordered, order = logits.sort(dim=-1)
            beyond = ordered.softmax(-1).cumsum(-1) <= 1 - sampling.top_p
            beyond[:, -1] = False
            logits = logits.masked_fill(beyond.scatter(-1, order, beyond), float("-inf"))
        logprobs = logits.log_softmax(-1)
        noise = torch.stack([torch.empty(logits.shape[-1]).exponential_(generator=g) for g in generators])
        tokens = (logits.softmax(-1) / noise).argmax(-1)
    return tokens.tolist(), logprobs.gather(-1, tokens[:, None])[:, 0].tolist()
