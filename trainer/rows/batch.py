"""Rows side by side, or several in one sequence: padding, positions, and the mask that keeps them apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from trainer.rows.row import Row


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded sequences.

    ids, weights, positions: shape (sequences, length); padding has weight 0.
    mask: which tokens each token sees, shape (sequences, 1, length, length). None leaves it to the model:
    causal attention, which begins anew where positions do (so any attention kernel can pack).
    """

    ids: torch.Tensor
    weights: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor | None


def make_batch(sequences: Sequence[Sequence[Row]], pad: int) -> Batch:
    """Each sequence holds one or more rows; shorter ones are padded with `pad` on the right.

    There no token ever looks at padding. No sequences at all give one of padding, for a process without work.
    """
    length = max((sum(len(row.ids) for row in rows) for rows in sequences), default=2)
    count = max(1, len(sequences))
    ids = torch.full((count, length), pad)
    weights = torch.zeros(count, length)
    positions = torch.arange(length).repeat(count, 1)
    has_branches = any(row.branches for rows in sequences for row in rows)
    mask = None
    if has_branches:
        mask = torch.ones(length, length, dtype=torch.bool).tril().repeat(count, 1, 1, 1)
    for index, rows in enumerate(sequences):
        begin = 0
        for row in rows:
            end = begin + len(row.ids)
            ids[index, begin:end] = torch.tensor(row.ids)
            weights[index, begin:end] = torch.tensor(row.weights)
            if begin:
                # The token before is another row's.
                weights[index, begin] = 0.0
                positions[index, begin:] = torch.arange(length - begin)
            if mask is not None:
                mask[index, 0, begin:, :begin] = False
            for branch, (first, last) in zip(row.branches, row.segments()[1:], strict=True):
                place = torch.arange(branch.fork, branch.fork + last - first)
                positions[index, begin + first : begin + last] = place
                if mask is not None:
                    mask[index, 0, begin + first : begin + last, begin + branch.fork : begin + first] = False
            begin = end
    return Batch(ids, weights, positions, mask)


def forward(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Logits of the next token, shape (sequences, length, vocabulary)."""
    return model(
        input_ids=batch.ids, position_ids=batch.positions, attention_mask=batch.mask, use_cache=False
    ).logits
