"""LoRA adapters: wrapped around a model to train, and merged into the weights that others load."""

from collections.abc import Iterator, Mapping

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from trainer.recipe.model import Lora

PREFIX, BASE, DOWN, UP = "base_model.model.", ".base_layer.", ".lora_A.default.", ".lora_B.default."
"""What peft adds to all names, to that of an adapted layer's weight, and to those of its adapter's two."""


def add_lora(model: PreTrainedModel, lora: Lora) -> PeftModel:
    """Freeze the weights and wrap the layers with fresh adapters, the same ones at every call.

    Raises ValueError for a target that is not a linear layer with a weight of its own, which could not be
    merged.
    """
    settings = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
    )
    # Processes and resumed runs must begin with the same adapters.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wrapped = get_peft_model(model, settings)
    embeddings = plain_model(wrapped).get_input_embeddings().weight
    for name, layer in wrapped.named_modules():
        if isinstance(layer, LoraLayer):
            base = layer.get_base_layer()
            if not isinstance(base, torch.nn.Linear) or base.weight is embeddings:
                raise ValueError(
                    f"model.lora.target_modules: {name.removeprefix(PREFIX)!r} is wrong because only linear "
                    "layers that share their weight with no embedding can be merged; leave it out"
                )
    return wrapped


def plain_model(model: torch.nn.Module) -> PreTrainedModel:
    """The transformers model inside of accelerate's and peft's wrappers."""
    if isinstance(model, DistributedDataParallel):
        model = model.module
    return model.get_base_model() if isinstance(model, PeftModel) else model


@torch.no_grad()
def merged_weights(
    model: torch.nn.Module, weights: Mapping[str, torch.Tensor] | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor of each weight, named as in `plain_model`; a LoRA layer's is W + (alpha / rank) B A.

    (Hu et al., 2021, section 4.1.) The model itself is not touched, so that no rounding adds up over many
    calls, and an engine that is given these has the weights a checkpoint has, bit for bit.

    weights: the model's state dict, already gathered from processes. None is its own parameters, tied ones
    once; a sharded (FSDP2) one is gathered when its turn comes, and every process iterates then.
    """
    if isinstance(model, DistributedDataParallel):
        model = model.module
    named = dict(model.named_parameters()) if weights is None else weights
    if not isinstance(model, PeftModel):
        for name, tensor in named.items():
            yield name, _whole(tensor)
        return
    adapter = model.peft_config["default"]
    for name, tensor in named.items():
        if ".lora_" in name:
            continue
        weight = _whole(tensor)
        if BASE in name and (down := named.get(name.replace(BASE, DOWN))) is not None:
            up = named[name.replace(BASE, UP)]
            change = _whole(up).float() @ _whole(down).float() * (adapter.lora_alpha / adapter.r)
            weight = (weight.float() + change).to(weight.dtype)
        yield name.removeprefix(PREFIX).replace(BASE, "."), weight


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
