"""How far a student's next-token distributions are from a teacher's."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from trainer.rollouts.types import Rollout

ROWS = 8
"""Replies in one forward pass: both models' logits over the whole vocabulary are held."""


def token_divergence(student: Tensor, teacher: Tensor, beta: float, temperature: float = 1.0) -> Tensor:
    """Generalised Jensen-Shannon divergence of next-token distributions, in nats, [...].

    student, teacher: logits, [..., vocabulary]. With p the teacher's and q the student's distribution and
    m = beta p + (1 - beta) q it is beta KL(p || m) + (1 - beta) KL(q || m) (GKD, arXiv 2306.13649, eq. 1);
    beta 0 is forward KL(p || q) and 1 reverse KL(q || p), to which it tends divided by beta or 1 - beta.
    """
    q = (student.float() / temperature).log_softmax(-1)
    p = (teacher.float() / temperature).log_softmax(-1)
    if beta == 0:
        return _kl(p, q)
    if beta == 1:
        return _kl(q, p)
    mixture = torch.logaddexp(p + math.log(beta), q + math.log(1 - beta))
    return beta * _kl(p, mixture) + (1 - beta) * _kl(q, mixture)


@torch.no_grad()
def reply_divergence(
    student: nn.Module, teacher: nn.Module, replies: Sequence[Rollout], device: torch.device
) -> tuple[float, int]:
    """Sum of KL(student || teacher) over the sampled tokens of replies, in nats, and how many they are.

    Inserted tokens do not count. Both models are called equally often for equally many replies.
    """
    total, count = 0.0, 0
    for counts, (ours, theirs) in sampled_logits((student, teacher), replies, device):
        total += token_divergence(ours, theirs, beta=1.0).sum().item()
        count += sum(counts)
    return total, count


def sampled_logits(
    models: Sequence[nn.Module], replies: Sequence[Rollout], device: torch.device
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """For ROWS replies at a time: how many tokens of each were sampled, and each model's logits there.

    Logits are [tokens, vocabulary], reply after reply; inserted tokens are left out.
    """
    for start in range(0, len(replies), ROWS):
        group = replies[start : start + ROWS]
        rows = [[*reply.request.prompt_ids, *reply.token_ids] for reply in group]
        width = max(map(len, rows))
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        sampled = torch.zeros(len(rows), width, dtype=torch.bool)
        for index, (row, reply) in enumerate(zip(rows, group, strict=True)):
            ids[index, : len(row)] = torch.tensor(row)
            sampled[index, len(reply.request.prompt_ids) : len(row)] = ~torch.tensor(reply.inserted)
        # Padding on the right needs no mask, as no earlier token sees it.
        ids, chosen = ids.to(device), sampled[:, 1:].to(device)
        logits = [model(input_ids=ids, use_cache=False).logits[:, :-1][chosen] for model in models]
        yield chosen.sum(1).tolist(), logits


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of log-probabilities."""
    return (p.exp() * (p - q)).sum(-1)
