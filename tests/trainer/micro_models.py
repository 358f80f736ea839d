"""Shapes and models of a few thousand parameters, with random weights, for tests."""

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from serve import DEFAULT_MODEL
from trainer.recipe.model import ModelShape

SHAPE = ModelShape(
    vocab_size=576,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=32,
    rope_theta=10000.0,
    max_position_embeddings=512,
)
"""One that vLLM takes too: its smallest head has 32 places."""


def micro_policy(seed: int = 0) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerBase]:
    """A model with the shipped tokenizer; its weights are large, so that its distributions are not flat."""
    tokenizer = AutoTokenizer.from_pretrained(DEFAULT_MODEL)
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config), tokenizer


MICRO_RECIPE = """
seed = 0
threads = 1
[model.shape]
vocab_size = 576
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 1
num_attention_heads = 2
num_key_value_heads = 1
head_dim = 16
rope_theta = 10000.0
max_position_embeddings = 512
"""
"""What a recipe of a model of some 30,000 parameters begins with; its stages follow."""
