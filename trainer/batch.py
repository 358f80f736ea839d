"""Rows side by side: padding, and for trees the positions and the attention mask that keep branches apart."""

from dataclasses import dataclass

import torch
from transformers import Qwen3ForCausalLM

from trainer.fusion import Row


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows.

    ids, weights, positions: shape (rows, length); padding has weight 0.
    mask: which tokens each token sees, shape (rows, 1, length, length); None is plain causal attention.
    """

    ids: torch.Tensor
    weights: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor | None


def make_batch(rows: list[Row], pad: int) -> Batch:
    """Pad rows on the right to the longest, where causal attention never looks from a real token."""
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), pad)
    weights = torch.zeros(len(rows), length)
    positions = torch.arange(length).repeat(len(rows), 1)
    mask = torch.ones(length, length, dtype=torch.bool).tril().repeat(len(rows), 1, 1, 1)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
        weights[index, : len(row.ids)] = torch.tensor(row.weights)
        ends = [*(branch.start for branch in row.branches), len(row.ids)][1:]
        for branch, end in zip(row.branches, ends, strict=True):
            positions[index, branch.start : end] = torch.arange(branch.fork, branch.fork + end - branch.start)
            mask[index, 0, branch.start : end, branch.fork : branch.start] = False
    return Batch(ids, weights, positions, mask if any(row.branches for row in rows) else None)


def forward(model: Qwen3ForCausalLM, batch: Batch) -> torch.Tensor:
    """Logits of the next token, shape (rows, length, vocabulary)."""
    return model(
        input_ids=batch.ids, position_ids=batch.positions, attention_mask=batch.mask, use_cache=False
    ).logits
