"""What an optimizer step logs about its policy: sums that micro-batches and processes add up."""

from dataclasses import dataclass

import torch
from torch import Tensor

SUMS = (
    "clip/low",
    "clip/high",
    "kl",
    "entropy",
    "ratio/mean",
    "ratio/log_square",
    "mismatch/kl",
    "mismatch/capped",
)
MAXIMA = ("ratio/max", "mismatch/max")


@dataclass(frozen=True, slots=True)
class PolicyStats:
    """Sums and maxima over the tokens that train. Micro-batches are added; processes reduce both tensors.

    sums: float64, each of `SUMS` with the number of tokens it is over, [names, 2], to be reduced by sum.
    maxima: float64, in the order of `MAXIMA`, to be reduced by max.
    `mismatch` compares the engine that sampled with the trainer's old policy: KL(engine || old) by k3, the
    share of correction weights at their cap, the largest |difference| of log-probabilities in nats.
    `ratio/log_square` is that of whole rollouts, which weigh as many tokens as they have.
    """

    sums: Tensor
    maxima: Tensor

    @staticmethod
    def of(mask: Tensor, sums: dict[str, Tensor], maxima: dict[str, Tensor]) -> "PolicyStats":
        """From per-token values, each [rows, tokens]; names of `SUMS` may be left out."""
        tokens = mask.sum().double()
        none = torch.zeros(2, dtype=torch.float64, device=mask.device)
        return PolicyStats(
            torch.stack(
                [
                    torch.stack([_where(sums[name], mask).sum(), tokens]) if name in sums else none
                    for name in SUMS
                ]
            ),
            torch.stack([_where(maxima[name], mask).amax() for name in MAXIMA]),
        )

    def __add__(self, other: "PolicyStats") -> "PolicyStats":
        return PolicyStats(self.sums + other.sums, torch.maximum(self.maxima, other.maxima))

    def metrics(self) -> dict[str, float]:
        """Means over tokens, and the maxima, by the names that runs log; what was not given is left out."""
        sums = dict(zip(SUMS, self.sums.tolist(), strict=True))
        means = {name: total / tokens for name, (total, tokens) in sums.items() if tokens}
        if not means:
            return {}
        if "clip/low" in means:
            means = {"clip/share": means["clip/low"] + means["clip/high"], **means}
        return {**means, **dict(zip(MAXIMA, self.maxima.tolist(), strict=True))}


def _where(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values.detach().double(), 0.0)
