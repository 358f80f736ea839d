"""The probe: a fixed text whose log-probabilities tell whether a backend has the trainer's weights."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from trainer.rollouts.types import SyncError

PROBE_TOKENS = 64
"""Few enough to cost nothing, and two blocks of the KV cache, so that a stale cached prefix shows too."""


def probe_ids(tokenizer: Any, tokens: int = PROBE_TOKENS) -> list[int]:
    """Token ids of the probe: arbitrary ones of the vocabulary, the same for a tokenizer in every run."""
    return random.Random(0).choices(range(tokenizer.vocab_size), k=tokens)


@torch.no_grad()
def model_logprobs(model: PreTrainedModel, token_ids: Sequence[int]) -> list[float]:
    """Natural log of the probability of each token but the first, given those before it, by a forward pass."""
    training = model.training
    model.eval()
    ids = torch.tensor([list(token_ids)], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
    model.train(training)
    return logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0].tolist()


def compare(
    backend: Sequence[float], trainer: Sequence[float], tolerance: float, version: int
) -> tuple[float, float]:
    """Largest and mean |difference| in nats of the probe's log-probabilities.

    Raises SyncError if the largest is above `tolerance`, or not a number.
    """
    differences = [abs(ours - theirs) for ours, theirs in zip(backend, trainer, strict=True)]
    largest, mean = max(differences), sum(differences) / len(differences)
    if not largest <= tolerance:
        raise SyncError(
            f"after the sync of weights version {version} the backend's log-probabilities of the probe differ "
            f"from the trainer's by up to {largest:.4g} nats (mean {mean:.4g}, tolerance {tolerance:g}, "
            f"{len(differences)} tokens): it does not have the trainer's weights, or computes in a lower "
            "precision; if it is the precision, raise rollouts.sync_tolerance"
        )
    return largest, mean
