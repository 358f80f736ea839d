"""A trainer's weights as an engine loads them: whole tensors, adapters merged, in the checkpoint's names."""

from collections.abc import Iterator

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

BASE_LAYER = ".base_layer."


def inner_model(model: torch.nn.Module) -> PreTrainedModel:
    """The transformers model inside of accelerate's and peft's wrappers."""
    if isinstance(model, DistributedDataParallel):
        model = model.module
    return model.get_base_model() if isinstance(model, PeftModel) else model


@torch.no_grad()
def merged_weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor of each weight, as the model's `save_pretrained` would name them; tied ones come once.

    A LoRA weight is the base weight plus the adapter's, computed here: the model itself is not touched, so
    that no rounding adds up over the syncs. A sharded (FSDP2) weight is gathered; every rank iterates then.
    """
    inner = inner_model(model)
    layers = {name: layer for name, layer in inner.named_modules() if isinstance(layer, LoraLayer)}
    for name, parameter in inner.named_parameters():
        if ".lora_" in name:
            continue
        owner = name.partition(BASE_LAYER)[0]
        weight = _whole(parameter.detach())
        if owner in layers and name.endswith(".weight"):
            layer = layers[owner]
            for adapter in layer.active_adapters:
                change: torch.Tensor = layer.get_delta_weight(adapter)
                weight = weight + _whole(change).to(weight.dtype)
        yield name.replace(BASE_LAYER, "."), weight


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
