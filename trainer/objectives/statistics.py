"""What an optimizer step logs about its policy: sums that micro-batches and processes add up."""

from dataclasses import dataclass

import torch
from torch import Tensor

SUMS = ("tokens", "clip/low", "clip/high", "kl", "entropy", "ratio/mean", "mismatch/kl", "mismatch/capped")
MAXIMA = ("ratio/max", "mismatch/max")


@dataclass(frozen=True, slots=True)
class PolicyStats:
    """Sums and maxima over the tokens that train. Micro-batches are added; processes reduce both tensors.

    sums: float64, in the order of `SUMS`, to be reduced by sum.
    maxima: float64, in the order of `MAXIMA`, to be reduced by max.
    `mismatch` compares the engine that sampled with the trainer's old policy.
    """

    sums: Tensor
    maxima: Tensor

    @staticmethod
    def of(mask: Tensor, sums: dict[str, Tensor], maxima: dict[str, Tensor]) -> "PolicyStats":
        """From per-token values, each [rows, tokens]; a name of `SUMS` that is left out is 0."""
        zero = torch.zeros((), dtype=torch.float64, device=mask.device)
        values = {"tokens": mask, **sums}
        return PolicyStats(
            torch.stack([_where(values[name], mask).sum() if name in values else zero for name in SUMS]),
            torch.stack([_where(maxima[name], mask).amax() for name in MAXIMA]),
        )

    def __add__(self, other: "PolicyStats") -> "PolicyStats":
        return PolicyStats(self.sums + other.sums, torch.maximum(self.maxima, other.maxima))

    def metrics(self) -> dict[str, float]:
        """Means over tokens, and the maxima, by the names that runs log."""
        tokens, *totals = self.sums.tolist()
        means = {name: total / max(tokens, 1) for name, total in zip(SUMS[1:], totals, strict=True)}
        maxima = dict(zip(MAXIMA, self.maxima.tolist(), strict=True))
        return {"clip/share": means["clip/low"] + means["clip/high"], **means, **maxima}


def _where(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values.detach().double(), 0.0)
