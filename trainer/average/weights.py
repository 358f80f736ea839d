"""The average of checkpoints' weights, and whether they can be averaged."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from trainer.checkpoints import check_one_tokenizer

INCIDENTAL = ("_name_or_path", "dtype", "transformers_version", "use_cache")
"""Members of a configuration that do not change what its weights mean."""


def average_weights(folders: Sequence[Path], weights: Sequence[float]) -> dict[str, Tensor]:
    """sum(w_i W_i) / sum(w_i) of each tensor, in the first checkpoint's types; summed in float64.

    The folders hold checkpoints that `check_alike` has passed. One of them is in memory at a time.
    """
    total: dict[str, Tensor] = {}
    types: dict[str, torch.dtype] = {}
    for folder, weight in zip(folders, weights, strict=True):
        state = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").state_dict()
        for name, tensor in state.items():
            share = tensor.double() * (weight / sum(weights))
            if name in total:
                total[name] += share
            else:
                total[name], types[name] = share, tensor.dtype
    return {name: tensor.to(types[name]) for name, tensor in total.items()}


def check_alike(folders: Sequence[Path], field: str) -> None:
    """Look whether the weights of checkpoint folders mean the same.

    Raises:
        ValueError: names `field`, the checkpoint that differs from the first one, and in what.
    """
    first, *others = folders
    config = _config(first)
    for other in others:
        theirs = _config(other)
        members = sorted(
            name for name in config.keys() | theirs.keys() if config.get(name) != theirs.get(name)
        )
        if members:
            name = members[0]
            raise ValueError(
                f"{field}: {str(other)!r} is wrong because its {name} is {theirs.get(name)!r} and that of "
                f"{str(first)!r} {config.get(name)!r}; give checkpoints of one shape"
            )
        check_one_tokenizer(first, other, field)


def _config(folder: Path) -> dict[str, object]:
    """What the shape of a checkpoint's weights and their use depend on."""
    members: dict[str, object] = AutoConfig.from_pretrained(folder).to_dict()
    return {name: value for name, value in members.items() if name not in INCIDENTAL}
