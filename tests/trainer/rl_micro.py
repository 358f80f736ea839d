"""A micro model and random rollouts of it, for tests of updates."""

import random
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from trainer.recipe.rl import Objective
from trainer.rl.batches import Row, make_minibatches
from trainer.rollouts.types import Rollout, RolloutRequest

CPU = torch.device("cpu")
MAX_TOKENS = 20


def micro_model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config)


def rows(count: int, seed: int = 0) -> list[Row]:
    rng = random.Random(seed)
    made = []
    for number in range(count):
        prompt = tuple(rng.randrange(40) for _ in range(rng.randint(3, 9)))
        length = rng.randint(2, MAX_TOKENS)
        rollout = Rollout(
            request=RolloutRequest(prompt, MAX_TOKENS, number),
            token_ids=tuple(rng.randrange(40) for _ in range(length)),
            logprobs=tuple(rng.uniform(-4.5, -3) for _ in range(length)),
            inserted=tuple(rng.random() < 0.2 for _ in range(length)),
            versions=(0,) * length,
            thinking_tokens=length,
            stop_cause="natural",
            finish_reason=rng.choice(("stop", "length")),
        )
        made.append(Row(rollout, rng.choice((-0.5, 0.0, 0.75)), rng.choice((0.0, 1.0))))
    return made


def minibatches(
    its: list[Row],
    settings: Objective,
    tokens: int = 100,
    rank: int = 0,
    ranks: int = 1,
    critic: bool = False,
) -> Any:
    return make_minibatches(its, settings, MAX_TOKENS, tokens, 5, rank, ranks, CPU, critic)
