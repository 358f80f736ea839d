"""A Qwen3 model from nothing, with its tokenizer and everything a server needs beside the weights."""

import itertools
import json
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from evals.problems import thinkmath
from serve.formats import CLOSE, OPEN
from trainer.fusion import STOP_TEXT, SYSTEM_PROMPTS, answer_text
from trainer.recipe import ModelShape
from trainer.tokenizer import build_tokenizer

CORPUS_PROBLEMS = 2000


def new_tokenizer(shape: ModelShape) -> PreTrainedTokenizerFast:
    """The tokenizer learnt on thinkmath's training split and the early-stop text."""
    items = list(itertools.islice(thinkmath.stream("train", seed=0), CORPUS_PROBLEMS))
    texts = [f"{item.problem.problem}\n{item.trace}\n{answer_text(item)}" for item in items]
    texts += [STOP_TEXT, "system user assistant think no_think", *SYSTEM_PROMPTS] * 100
    return build_tokenizer(texts, shape.vocab_size, shape.max_position_embeddings)


def new_model(shape: ModelShape, tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """A model with random weights, float32, embeddings tied."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        **shape.model_dump(exclude={"rope_theta"}),
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype="float32",
    )
    return Qwen3ForCausalLM(config)


def save_checkpoint(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a checkpoint that transformers and vLLM load; `folder` appears whole or not at all."""
    partial = folder.with_name(f"{folder.name}.partial")
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    ).save_pretrained(partial)
    thinking = {"open": OPEN, "close": CLOSE, "stop_text": STOP_TEXT}
    (partial / "thinking_format.json").write_text(json.dumps(thinking, indent=2) + "\n", encoding="utf-8")
    partial.rename(folder)
