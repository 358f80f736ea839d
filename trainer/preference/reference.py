"""The reference's log-probabilities of every pair, computed once and kept on disk."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from trainer.preference.batch import TokenLogprobs, compare, pair_inputs
from trainer.preference.pairs import Pair

BLOCK = 128
"""Pairs of one file, which a kill leaves whole or not at all."""


def write_reference(
    folder: Path,
    pairs: Sequence[Pair],
    model: nn.Module,
    micro_batch_tokens: int,
    device: torch.device,
    process: int = 0,
    processes: int = 1,
) -> None:
    """Fill `folder` with what `model` says of this process's share of the blocks that are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for block in range(-(-len(pairs) // BLOCK))[process::processes]:
        if not _path(folder, block).exists():
            its = pairs[block * BLOCK : (block + 1) * BLOCK]
            logprobs = pair_logprobs(its, model, micro_batch_tokens, device)
            partial = _path(folder, block).with_suffix(".partial")
            tensors = {
                "chosen": torch.cat([chosen for chosen, _ in logprobs]),
                "rejected": torch.cat([rejected for _, rejected in logprobs]),
            }
            save_file(tensors, partial)
            partial.replace(_path(folder, block))


def read_reference(folder: Path, pairs: Sequence[Pair]) -> list[TokenLogprobs]:
    """The log-probabilities of all pairs, once every block is written."""
    found: list[TokenLogprobs] = []
    for block in range(-(-len(pairs) // BLOCK)):
        its = pairs[block * BLOCK : (block + 1) * BLOCK]
        tensors = load_file(_path(folder, block))
        chosen = tensors["chosen"].split([_trained(pair.chosen.weights) for pair in its])
        rejected = tensors["rejected"].split([_trained(pair.rejected.weights) for pair in its])
        found += zip(chosen, rejected, strict=True)
    return found


@torch.no_grad()
def pair_logprobs(
    pairs: Sequence[Pair], model: nn.Module, micro_batch_tokens: int, device: torch.device
) -> list[TokenLogprobs]:
    """What a model with TRL's fused head says of each pair, in their order, on the CPU."""
    found: dict[int, TokenLogprobs] = {}
    for numbers in batches(pairs, micro_batch_tokens):
        inputs = pair_inputs([pairs[number] for number in numbers], None, pad=0)
        compared = compare(model, {name: tensor.to(device) for name, tensor in inputs.items()})
        for place, number in enumerate(numbers):
            chosen, rejected = (
                replies.logprobs[place][replies.mask[place]].cpu()
                for replies in (compared.chosen, compared.rejected)
            )
            found[number] = chosen, rejected
    return [found[number] for number in range(len(pairs))]


def batches(pairs: Sequence[Pair], micro_batch_tokens: int) -> list[list[int]]:
    """Pairs of like length together, by number, as many as their padded tokens allow, at least one."""
    packed: list[list[int]] = []
    for number in sorted(range(len(pairs)), key=lambda number: pairs[number].length):
        if packed and 2 * pairs[number].length * (len(packed[-1]) + 1) <= micro_batch_tokens:
            packed[-1].append(number)
        else:
            packed.append([number])
    return packed


def _path(folder: Path, block: int) -> Path:
    return folder / f"{block:06d}.safetensors"


def _trained(weights: Sequence[float]) -> int:
    return sum(weight > 0 for weight in weights)
