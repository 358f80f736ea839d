"""Which model a run begins with, how it is trained (whole, or LoRA) and what optimises it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from trainer.recipe.section import Section


class ModelShape(Section):
    """A Qwen3 architecture to begin from nothing, in the words of `Qwen3Config`."""

    vocab_size: int = Field(gt=0)
    hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    rope_theta: float = Field(gt=0)
    max_position_embeddings: int = Field(gt=0)


class Lora(Section):
    """Low-rank adapters (Hu et al., 2021); each stage's checkpoint has them merged into the weights."""

    rank: int = Field(gt=0)
    alpha: float = Field(gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: list[str] | Literal["all-linear"] = "all-linear"


class Thinking(Section):
    """Thinking for a model that has none: tags that become tokens, and a chat template that switches them."""

    open: str = "<think>"
    close: str = "</think>"
    stop_text: str | None = None
    """Inserted at a cut; None is the Qwen3 report's sentence and the closing tag."""
    template: Path | None = None
    """A Jinja file; None is Qwen3's template, for models whose turns are `<|im_start|>` and `<|im_end|>`."""


class Model(Section):
    """The first stage's model: `path` (folder or hub name) or `shape` (random weights, our tokenizer)."""

    path: Path | None = None
    shape: ModelShape | None = None
    tokenizer: Path | None = None
    """With `shape`: the checkpoint whose tokenizer it takes, as a student its teacher's; None learns one."""
    thinking: Thinking | None = None
    """For a `path` whose model has no thinking tags yet."""
    lora: Lora | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights that are trained."""
    gradient_checkpointing: bool = False

    @model_validator(mode="after")
    def _one_beginning(self) -> "Model":
        if (self.path is None) == (self.shape is None):
            raise ValueError("give either path (a checkpoint) or shape (a model from nothing)")
        if self.tokenizer is not None and self.shape is None:
            raise ValueError("tokenizer is for a model from nothing; one from a path has its own")
        if self.thinking is not None and self.shape is not None:
            raise ValueError("thinking is for a model from a path; one from nothing has it")
        return self


class Optimizer(Section):
    """Warm-up, constant, linear decay. With `muon_lr`, Muon (Jordan et al., 2024) on the layers' matrices."""

    adamw_lr: float = Field(gt=0)
    muon_lr: float | None = Field(default=None, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    warmup: float = Field(default=0.02, ge=0, lt=1)
    """Share of the stage over which the learning rate rises."""
    decay: float = Field(default=0.3, ge=0, le=1)
    """Share of the stage, at its end, over which the learning rate falls to zero."""
