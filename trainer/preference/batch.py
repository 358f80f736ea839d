"""Pairs side by side: all chosen replies, then all rejected ones, and what a model makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer.objectives.preference import Replies
from trainer.preference.pairs import Pair
from trainer.rows.batch import make_batch

TokenLogprobs = tuple[Tensor, Tensor]
"""Log-probabilities of the trained tokens of a pair's chosen and rejected reply, each [tokens]."""


def pair_inputs(
    pairs: Sequence[Pair],
    reference: Sequence[TokenLogprobs] | None,
    pad: int,
    counts: bool = True,
) -> dict[str, Tensor]:
    """Right-padded tensors of 2 n rows for n pairs, the chosen replies first.

    ids: [2 n, length]. mask: tokens that train, boolean, likewise. weights: of the pairs, [n], 0 unless
    `counts`. reference: the reference's log-probabilities of the tokens after the first, [2 n, length - 1], 0
    where they are not trained or not known.
    """
    rows = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    batch = make_batch([[row] for row in rows], pad)
    mask = batch.weights > 0
    known = torch.zeros(mask[:, 1:].shape)
    if reference is not None:
        known[mask[:, 1:]] = torch.cat([one for one, _ in reference] + [other for _, other in reference])
    weights = torch.tensor([pair.weight * counts for pair in pairs])
    return {"ids": batch.ids, "mask": mask, "weights": weights, "reference": known}


@dataclass(frozen=True, slots=True)
class Compared:
    """A batch of pairs under a model.

    chosen, rejected: their replies. weights: [pairs]. entropies: of the next-token distribution at each token
    of the chosen, then of the rejected replies, nats, [2 pairs, tokens].
    """

    chosen: Replies
    rejected: Replies
    weights: Tensor
    entropies: Tensor


def compare(model: nn.Module, inputs: dict[str, Any]) -> Compared:
    """What a model with TRL's fused head says of a batch of `pair_inputs`."""
    ids, mask = inputs["ids"], inputs["mask"]
    # Padding on the right needs no attention mask, as no earlier token sees it.
    outputs = model(input_ids=ids, labels=ids.masked_fill(~mask, -100), use_cache=False, fused_lm_head=True)
    halves = [each.chunk(2) for each in (outputs.log_probs.float(), inputs["reference"], mask[:, 1:])]
    chosen, rejected = (Replies(*parts) for parts in zip(*halves, strict=True))
    return Compared(chosen, rejected, inputs["weights"], outputs.entropy.detach().float())
