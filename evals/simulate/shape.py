"""A model's size, read off its config.json: bytes of weights, bytes of KV cache a token, FLOPs a token.

For transformers with (grouped-query) attention and dense or mixture-of-experts layers, under the names that
Qwen, Llama, Mistral and their kin use.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float8_e4m3fn": 1}
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
OTHER_CACHES = ("kv_lora_rank", "linear_num_key_heads", "mamba_d_state", "ssm_cfg")
"""Fields of models whose cache is not keys and values of every token."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What a step of the model moves and computes.

    parameters: all of them. shared: those that every token passes (no embedding table, no experts). expert:
    those of one expert over all layers; experts, experts_per_token: how many, and how many a token uses.
    weight_bytes, kv_bytes: bytes of one parameter and of one cached number. The rest is of the attention.
    """

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    parameters: int
    shared: int
    expert: int
    experts: int
    experts_per_token: int
    weight_bytes: float
    kv_bytes: float

    @property
    def kv_bytes_per_token(self) -> float:
        """Keys and values of all layers: 2 x layers x KV heads x head dimension x bytes a number."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.kv_bytes

    @property
    def total_bytes(self) -> float:
        """Of the weights in memory."""
        return self.parameters * self.weight_bytes

    def read_bytes(self, tokens: int) -> float:
        """Bytes of weights that a step of so many tokens reads.

        Each token picks k of E experts; taken as independent and even, a step reads E (1 - (1 - k/E)^tokens).
        """
        if not self.experts:
            return self.shared * self.weight_bytes
        touched = self.experts * (1 - (1 - self.experts_per_token / self.experts) ** tokens)
        return (self.shared + touched * self.expert) * self.weight_bytes

    @property
    def flops_per_token(self) -> float:
        """Without attention: two for each parameter that a token passes (Kaplan et al. 2020, section 2.1)."""
        return 2 * (self.shared + self.experts_per_token * self.expert)

    @property
    def flops_per_pair(self) -> float:
        """Of attention, for a token and one of its context: QK^T and AV, 2 x 2 x heads x head dimension."""
        return 4 * self.layers * self.heads * self.head_dim


def read_shape(model: Path, dtype: str | None = None, kv_dtype: str | None = None) -> ModelShape:
    """The shape of a checkpoint.

    model: its folder, or its config.json. dtype: of the weights; None is the config's. kv_dtype: of the
    cache; None is as the weights. Raises ValueError naming the field that is missing or wrong, OSError where
    there is no such file.
    """
    path = model / "config.json" if model.is_dir() else model
    config = json.loads(path.read_text("utf-8"))
    config = config.get("text_config", config)
    for name in OTHER_CACHES:
        if config.get(name):
            raise ValueError(
                f"{path}: {name}: its cache is not keys and values of every token, so this plan would be "
                "wrong; give a model with full or grouped-query attention"
            )
    return _shape(config, path, dtype, kv_dtype)


def _shape(config: dict[str, Any], path: Path, dtype: str | None, kv_dtype: str | None) -> ModelShape:
    def number(name: str, default: int | None = None) -> int:
        value = config.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{path}: {name}: {value!r} is wrong because it must be a whole number above 0")
        return value

    weight_bytes = _bytes("dtype", dtype or config.get("dtype") or config.get("torch_dtype"))
    layers, hidden = number("num_hidden_layers"), number("hidden_size")
    heads = number("num_attention_heads")
    kv_heads = number("num_key_value_heads", heads)
    head_dim = number("head_dim", hidden // heads)
    vocabulary = number("vocab_size") * hidden
    attention = hidden * head_dim * (2 * heads + 2 * kv_heads)
    experts = next((config[name] for name in EXPERTS if config.get(name)), 0)
    expert = used = 0
    feed_forward = 0
    if experts:
        used = number("num_experts_per_tok")
        expert = 3 * hidden * number("moe_intermediate_size", config.get("intermediate_size")) * layers
        feed_forward = hidden * experts + 3 * hidden * config.get("shared_expert_intermediate_size", 0)
    else:
        feed_forward = 3 * hidden * number("intermediate_size")
    # The head is read in every step; of the embedding table only a row a token, unless the two are one.
    shared = layers * (attention + feed_forward) + vocabulary
    table = 0 if config.get("tie_word_embeddings") else vocabulary
    return ModelShape(
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        parameters=shared + table + experts * expert,
        shared=shared,
        expert=expert,
        experts=experts,
        experts_per_token=used,
        weight_bytes=weight_bytes,
        kv_bytes=weight_bytes if kv_dtype is None else _bytes("kv_dtype", kv_dtype),
    )


def _bytes(field: str, name: object) -> float:
    if name not in BYTES:
        raise ValueError(f"{field}: {name!r} is wrong because its size is not known; give {', '.join(BYTES)}")
    return BYTES[str(name)]
