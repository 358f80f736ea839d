"""How much memory a stage needs on each process, from the model's configuration alone."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from trainer.adapters import add_lora
from trainer.optimizers import MuonWithAdamW, build_optimizer
from trainer.recipe.model import Model
from trainer.recipe.rl import Rollouts
from trainer.recipe.stages import DPO, AnyStage, Distill, Fusion, RLStage, SFTStage

PROBE_TOKENS = 64
"""Tokens that activations are counted for; they grow in proportion."""
ATTENTION = "counted_without_kernel"


@dataclass(frozen=True)
class Memory:
    """Bytes on one process, without what libraries and allocators keep for themselves.

    activations: kept for the backward pass of one micro-batch; with gradient checkpointing the layers' inputs
    and one layer. logits: next-token scores of a micro-batch and what RL's loss makes of them, as if all its
    tokens were trained; SFT and DPO make them in tiles. others: the reference model or the teacher. engine:
    the weights of the engine in this process.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int = 0
    others: int = 0
    engine: int = 0
    kv_cache: int = 0

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


def meta_model(config: PretrainedConfig, model: Model) -> PreTrainedModel:
    """The model to train without its weights: tensors on the meta device, which have only a shape."""
    AttentionInterface.register(ATTENTION, _attend)
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, model.dtype), attn_implementation=ATTENTION
        )
        return made if model.lora is None else add_lora(made, model.lora)


class ModelMemory:
    """What stages of one model need; the model is made once, on the meta device."""

    def __init__(self, config: PretrainedConfig, model: Model) -> None:
        self._config, self._settings = config, model
        self.model = meta_model(config, model)
        plain = self.model if model.lora is None else self.model.get_base_model()
        self.parameters: int = plain.num_parameters() - (
            0 if model.lora is None else _adapter_parameters(self.model)
        )
        self._activations = activation_bytes(self.model, model.gradient_checkpointing)

    def of(self, stage: AnyStage, teacher: PretrainedConfig | None = None) -> Memory:
        """The memory that a stage needs. teacher: the configuration of a distill stage's teacher."""
        itemsize = getattr(torch, self._settings.dtype).itemsize
        tokens = micro_batch_tokens(stage)
        # RL's scores and their gradient, and three float32 tables: at temperature, exponentials, a gradient;
        # distillation makes as many.
        tiled = isinstance(stage, SFTStage | DPO)
        logits = 0 if tiled else tokens * self._config.vocab_size * (2 * itemsize + 12)
        others = 0
        if isinstance(stage, Distill) and teacher is not None:
            others = count_parameters(teacher) * itemsize
        elif isinstance(stage, RLStage) and stage.objective.kl.coefficient:
            others = self.parameters * itemsize
        elif isinstance(stage, DPO) and stage.pairs.rollouts and stage.evaluate_every:
            # The reference, to measure the divergence of sampled replies.
            others = self.parameters * itemsize
        rollouts = rollouts_of(stage)
        engine = rollouts if rollouts is not None and rollouts.backend == "engine" else None
        return Memory(
            weights=count_bytes(self.model.parameters()),
            gradients=count_bytes(weights for weights in self.model.parameters() if weights.requires_grad),
            optimizer=optimizer_bytes(self.model, stage),
            activations=round(self._activations * tokens),
            logits=logits,
            others=others,
            engine=self.parameters * getattr(torch, engine.dtype).itemsize if engine else 0,
            kv_cache=round(engine.kv_cache_gib * 2**30) if engine else 0,
        )


def _adapter_parameters(model: PreTrainedModel) -> int:
    return sum(weights.numel() for name, weights in model.named_parameters() if ".lora_" in name)


def rollouts_of(stage: AnyStage) -> Rollouts | None:
    """How a stage samples replies, if it does."""
    if isinstance(stage, Fusion):
        return stage.rejection.rollouts if stage.rejection else None
    if isinstance(stage, DPO):
        return stage.pairs.rollouts
    return None if isinstance(stage, SFTStage) else stage.rollouts


def micro_batch_tokens(stage: AnyStage) -> int:
    """Padded tokens of one forward pass."""
    if isinstance(stage, SFTStage):
        return max(stage.micro_batch_tokens or stage.batch_tokens, 1)
    if isinstance(stage, Distill):
        return stage.off_policy.batch_tokens if stage.off_policy else stage.rollouts.max_tokens
    if isinstance(stage, DPO):
        return stage.micro_batch_tokens
    return max(stage.micro_batch_tokens, stage.rollouts.max_tokens)


def count_bytes(tensors: Iterable[Tensor]) -> int:
    """Of the tensors' elements."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def count_parameters(config: PretrainedConfig) -> int:
    """Of a model, tied weights once."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config).num_parameters()


def optimizer_bytes(model: nn.Module, stage: AnyStage) -> int:
    """Of its state: two moments and a counter for each of AdamW's tensors, one moment for each of Muon's."""
    optimizer = build_optimizer(model, stage.optimizer)
    muon = optimizer.muon.param_groups if isinstance(optimizer, MuonWithAdamW) else []
    adamw = optimizer.adamw.param_groups if isinstance(optimizer, MuonWithAdamW) else optimizer.param_groups
    moments = count_bytes([weights for group in muon for weights in group["params"]])
    both = [weights for group in adamw for weights in group["params"]]
    return moments + 2 * count_bytes(both) + len(both) * torch.float32.itemsize


def kv_bytes_per_token(config: PretrainedConfig, itemsize: int) -> int:
    """Keys and values of one token in all layers."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * config.num_key_value_heads * head * itemsize


def activation_bytes(model: PreTrainedModel, checkpointing: bool) -> float:
    """Bytes for each token that a forward pass through the layers keeps for the backward pass."""
    decoder = (model.get_base_model() if hasattr(model, "peft_config") else model).get_decoder()
    with torch.device("meta"), _kept(list(model.parameters())) as kept:
        ids = torch.zeros(1, PROBE_TOKENS, dtype=torch.long)
        decoder(input_ids=ids, use_cache=False)
    whole = kept() / PROBE_TOKENS
    if not checkpointing:
        return whole
    layers = model.config.num_hidden_layers
    inputs = layers * model.config.hidden_size * model.dtype.itemsize
    return inputs + whole / layers


@contextmanager
def _kept(weights: list[nn.Parameter]) -> Iterator[Any]:
    """Counts the bytes of tensors, other than weights, that autograd keeps for the backward pass."""
    storages: dict[int, Tensor] = {}
    own = {weight.untyped_storage()._cdata for weight in weights}

    def keep(tensor: Tensor) -> Tensor:
        identity = tensor.untyped_storage()._cdata
        if identity not in own:
            storages[identity] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield lambda: sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


class _Attend(torch.autograd.Function):
    """Keeps what fused attention keeps: queries, keys, values, the result, and a number for each row.

    It is counted only, so it has no backward.
    """

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        result = torch.empty_like(query)
        rows = torch.empty(query.shape[:-1], dtype=torch.float32, device=query.device)
        context.save_for_backward(query, key, value, result, rows)
        return result


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    return _Attend.apply(query, key, value).transpose(1, 2), None
