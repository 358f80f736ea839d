"""From finished groups to padded tensors: rows, minibatches, and each process's micro-batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.objectives import group_advantages, loss_mask, normaliser
from trainer.recipe.rl import Objective
from trainer.rl.groups import ScoredGroup
from trainer.rollouts.types import Rollout
from trainer.seeds import derive_rng


@dataclass(frozen=True, slots=True)
class Row:
    """A rollout to train on, with its advantage."""

    rollout: Rollout
    advantage: float

    def __len__(self) -> int:
        return len(self.rollout.request.prompt_ids) + len(self.rollout.token_ids)


@dataclass(slots=True)
class MicroBatch:
    """Right-padded rows of one forward pass. W columns predict the tokens from the first reply's start on.

    inputs: token ids without the last column, [rows, length]. targets: the token after each of the last W
    inputs, [rows, W]. mask: targets that train, boolean [rows, W]. rollout_logprobs: the engine's, [rows, W].
    advantages: [rows]. old, reference: log-probabilities before the step's first update and of the reference
    model, [rows, W], where they are needed.
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    rollout_logprobs: Tensor
    advantages: Tensor
    old: Tensor | None = None
    reference: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Minibatch:
    """One optimizer step: this process's micro-batches, and what all processes' loss sums are divided by."""

    micro_batches: list[MicroBatch]
    normaliser: float


def make_rows(groups: Sequence[ScoredGroup], std: bool) -> list[Row]:
    """The rollouts of `groups`, with advantages within each group."""
    if not groups:
        return []
    rewards = torch.tensor([group.rewards for group in groups], dtype=torch.float64)
    advantages = group_advantages(rewards, std).tolist()
    return [
        Row(rollout, advantage)
        for group, values in zip(groups, advantages, strict=True)
        for rollout, advantage in zip(group.rollouts, values, strict=True)
    ]


def make_minibatches(
    rows: Sequence[Row],
    objective: Objective,
    max_tokens: int,
    micro_batch_tokens: int,
    seed: int,
    rank: int,
    ranks: int,
    device: torch.device,
) -> list[Minibatch]:
    """Split rows at random into `objective.minibatches` and pack this process's part of each.

    Which rows share an optimizer step does not depend on the number of processes. Each process gets as many
    micro-batches as the one with most, by empty ones, so that their collective operations match. Rows without
    a gradient are counted in the normaliser and not computed.
    """
    order = list(range(len(rows)))
    derive_rng(seed).shuffle(order)
    parts = [order[part :: objective.minibatches] for part in range(objective.minibatches)]
    minibatches = []
    for part in parts:
        if not part:
            continue
        chosen = sorted((rows[index] for index in part), key=len)
        useful = [row for row in chosen if _has_gradient(row, objective)]
        packs = [_pack(useful[other::ranks], micro_batch_tokens) for other in range(ranks)]
        most = max(1, *(len(pack) for pack in packs))
        micro_batches = [_tensors(pack, objective, device) for pack in packs[rank]]
        while len(micro_batches) < most:
            empty = _tensors(chosen[:1], objective, device)
            empty.mask.zero_()
            micro_batches.append(empty)
        trained = torch.tensor([_trained(row, objective) for row in chosen])
        minibatches.append(Minibatch(micro_batches, normaliser(trained, objective.normalisation, max_tokens)))
    return minibatches


def _pack(rows: Sequence[Row], micro_batch_tokens: int) -> list[list[Row]]:
    """Rows of like length together, at most `micro_batch_tokens` with padding; a longer row stands alone."""
    packs: list[list[Row]] = []
    for row in rows:
        if packs and len(row) * (len(packs[-1]) + 1) <= micro_batch_tokens:
            packs[-1].append(row)
        else:
            packs.append([row])
    return packs


def _has_gradient(row: Row, objective: Objective) -> bool:
    regularised = objective.kl.coefficient > 0 or objective.entropy_bonus != 0
    return _trained(row, objective) > 0 and (regularised or row.advantage != 0)


def _trained(row: Row, objective: Objective) -> int:
    if objective.mask_truncated and row.rollout.finish_reason == "length":
        return 0
    return row.rollout.inserted.count(False)


def _tensors(rows: Sequence[Row], objective: Objective, device: torch.device) -> MicroBatch:
    length = max(len(row) for row in rows)
    first = min(len(row.rollout.request.prompt_ids) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    reply, inserted = torch.zeros(2, len(rows), length, dtype=torch.bool)
    logprobs = torch.zeros(len(rows), length)
    for index, row in enumerate(rows):
        prompt = len(row.rollout.request.prompt_ids)
        ids[index, : len(row)] = torch.tensor(row.rollout.request.prompt_ids + row.rollout.token_ids)
        reply[index, prompt : len(row)] = True
        inserted[index, prompt : len(row)] = torch.tensor(row.rollout.inserted)
        logprobs[index, prompt : len(row)] = torch.tensor(row.rollout.logprobs)
    truncated = torch.tensor([row.rollout.finish_reason == "length" for row in rows])
    mask = loss_mask(reply, inserted, truncated, objective.mask_truncated)
    return MicroBatch(
        inputs=ids[:, :-1].to(device),
        targets=ids[:, first:].to(device),
        mask=mask[:, first:].to(device),
        rollout_logprobs=logprobs[:, first:].to(device),
        advantages=torch.tensor([row.advantage for row in rows]).to(device),
    )
