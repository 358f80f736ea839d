"""Entropy of next-token distributions."""

from torch import Tensor

_FLOOR = -1e30  # a forbidden token's logit: its probability is 0 and its gradient not nan


def entropy(logits: Tensor) -> Tensor:
    """-sum p log p in nats, with its gradient; [..., vocabulary] to [...], in float32.

    Divide the logits by the sampling temperature first. Tokens may be forbidden by a logit of -inf.
    """
    logits = logits.float().clamp(min=_FLOOR)
    return logits.logsumexp(dim=-1) - (logits.softmax(dim=-1) * logits).sum(dim=-1)
