"""The probe: a fixed text whose log-probabilities tell whether a backend has the trainer's weights."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainer.rollouts.types import SyncError

PROBE_TOKENS = 65
"""Few enough to cost nothing, and more than two blocks of a KV cache."""

FOLLOWING = 16
"""Tokens that may follow it: the first alone may be certain, whatever the weights are."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What a backend says of the probe, natural logs.

    logprobs: of each of its tokens but the first. following: of some tokens after it, the likeliest ones,
    computed on whatever the prefix cache holds of the probe, so that a cache of older weights shows.
    """

    logprobs: Sequence[float]
    following: Mapping[int, float]


def probe_ids(tokenizer: Any) -> list[int]:
    """Token ids of the probe: arbitrary ones of the vocabulary, the same for a tokenizer in every run."""
    return random.Random(0).choices(range(tokenizer.vocab_size), k=PROBE_TOKENS)


@torch.no_grad()
def model_logprobs(model: torch.nn.Module, token_ids: Sequence[int]) -> torch.Tensor:
    """Log-probabilities of what follows each token, by a forward pass: float32 [tokens, vocabulary]."""
    training = model.training
    model.eval()
    ids = torch.tensor([list(token_ids)], device=next(model.parameters()).device)
    logits = model(input_ids=ids, use_cache=False).logits[0].float()
    model.train(training)
    return logits.log_softmax(-1).cpu()


def probe_model(model: torch.nn.Module, token_ids: Sequence[int]) -> Probed:
    """What a transformers model says of the probe."""
    table = model_logprobs(model, token_ids)
    after = torch.tensor(token_ids[1:])[:, None]
    values, ids = table[-1].topk(FOLLOWING)
    following = dict(zip(ids.tolist(), values.tolist(), strict=True))
    return Probed(table[:-1].gather(-1, after)[:, 0].tolist(), following)


def verify(
    probed: Probed, model: torch.nn.Module, token_ids: Sequence[int], tolerance: float, version: int
) -> tuple[float, float]:
    """Largest and mean |difference|, in nats, of a backend's log-probabilities of the probe to the model's.

    Raises SyncError if the largest is above `tolerance`, or not a number.
    """
    table = model_logprobs(model, token_ids)
    after = torch.tensor(token_ids[1:])[:, None]
    theirs = torch.cat([table[:-1].gather(-1, after)[:, 0], table[-1, list(probed.following)]])
    ours = torch.tensor([*probed.logprobs, *probed.following.values()])
    differences = (ours - theirs).abs()
    largest, mean = float(differences.max()), float(differences.mean())
    if not largest <= tolerance:
        raise SyncError(
            f"after the sync of weights {version} the backend's log-probabilities of the probe differ from "
            f"the trainer's by up to {largest:.4g} nats (mean {mean:.4g}, tolerance {tolerance:g}): it has "
            "other weights, a cache of older ones, or a lower precision (for a server, see its --dtype); if "
            "it is the precision, raise rollouts.sync_tolerance"
        )
    return largest, mean
