"""The model that a reward model is trained from: a policy's layers, and a head of one score for its own."""

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.reward_trainer import suppress_seqcls_warning

from trainer.checkpoints import add_lora
from trainer.recipe.model import Model


def load_scored(
    path: Path, tokenizer: PreTrainedTokenizerBase, settings: Model, seed: int
) -> PreTrainedModel:
    """The checkpoint's layers below a head with random weights, the same ones for a seed, to train.

    A reward model's checkpoint keeps its head. The score is read where a row's padding begins, so `tokenizer`
    is given a padding token if it has none.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    with torch.random.fork_rng(), suppress_seqcls_warning():
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(
            path, num_labels=1, dtype=getattr(torch, settings.dtype)
        )
    model.config.pad_token_id = tokenizer.pad_token_id
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model if settings.lora is None else add_lora(model, settings.lora, "SEQ_CLS")
