"""How far a policy has gone from its start, and how sure it is, on replies that it sampled."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from trainer.distill.divergence import ROWS, token_divergence
from trainer.objectives import entropy


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply sampled at temperature 1 from the whole distribution, and the problem it answers."""

    problem: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shift:
    """What two models say of a reply of the first.

    tokens: of the reply. entropy: of the first model's next-token distribution, mean over the reply's tokens,
    in nats. kl: KL(policy || start) summed over the tokens, in nats. The mean of kl over sampled replies
    estimates the divergence of the distributions of whole replies without bias, by the chain rule; each
    token's divergence is taken over the whole vocabulary, which varies less than its log-ratio.
    """

    problem: str
    tokens: int
    entropy: float
    kl: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def shifts(policy: Path, start: Path, replies: Sequence[Reply]) -> list[Shift]:
    """Score the policy's replies with both checkpoints; returns them in the order of the problems' names."""
    models = [
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval() for folder in (policy, start)
    ]
    # Replies of like length together, so that little is padding.
    order = sorted(replies, key=lambda reply: len(reply.prompt_ids) + len(reply.token_ids))
    found = [
        shift
        for first in range(0, len(order), ROWS)
        for shift in score(models[0], models[1], order[first : first + ROWS])
    ]
    return sorted(found, key=lambda shift: shift.problem)


@torch.no_grad()
def score(policy: nn.Module, start: nn.Module, replies: Sequence[Reply]) -> list[Shift]:
    """Score a few replies in one forward pass of each model."""
    rows = [[*reply.prompt_ids, *reply.token_ids] for reply in replies]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    sampled = torch.zeros_like(ids, dtype=torch.bool)
    for index, (row, reply) in enumerate(zip(rows, replies, strict=True)):
        ids[index, : len(row)] = torch.tensor(row)
        sampled[index, len(reply.prompt_ids) : len(row)] = True
    # Padding on the right needs no mask, as no earlier token sees it.
    chosen = sampled[:, 1:]
    logits = [model(input_ids=ids, use_cache=False).logits[:, :-1][chosen] for model in (policy, start)]
    counts = chosen.sum(dim=1)
    entropies = _by_row(entropy(logits[0].float()), counts)
    divergences = _by_row(token_divergence(logits[0], logits[1], beta=1.0), counts)
    return [
        Shift(reply.problem, int(count), float(of.mean()), float(apart.sum()))
        for reply, count, of, apart in zip(replies, counts, entropies, divergences, strict=True)
    ]


def _by_row(values: Tensor, counts: Tensor) -> tuple[Tensor, ...]:
    return values.double().split(counts.tolist())
