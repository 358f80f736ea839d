"""What our subclasses of TRL's trainers share: sealed checkpoints, metrics of every step, no telemetry."""

import math
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import PartialState
from torch import nn
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from trainer.checkpoints import save_checkpoint
from trainer.context import StageContext
from trainer.recipe.model import Optimizer
from trainer.recipe.stage import Stage
from trainer.saving import saving
from trainer.sft.state import seal

OnStep = Callable[[int, dict[str, float], int], None]
"""Called after each step, on every process, with its number (from 1), its metrics and its tokens."""


class SealedTrainer(Trainer):
    """Stands before a trainer of TRL's among the bases of ours."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.remove_callback(PrinterCallback)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: the estimate looks for input ids where a step has micro-batches."""
        return 0

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with saving(folder):
            # Past TRL's own, which adds a model card for the hub.
            Trainer._save_checkpoint(self, model, trial)
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process:
                seal(folder)

    def _send_telemetry(self) -> None:
        """Nothing is reported to anyone."""


class MicroBatchTrainer(SealedTrainer):
    """A trainer whose batch is one process's whole share of a step: its collator divides it.

    A batch has `micro_batches`, inputs of `compute_loss` each; and of the whole step, on all processes, its
    `weight`, which loss sums are divided by, and its `tokens`.
    """

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Forward and backward over this process's micro-batches; gradients are exchanged after the last."""
        micro_batches = inputs["micro_batches"]
        self.step_weight, self.step_tokens = inputs["weight"], inputs["tokens"]
        losses = []
        for number, micro_batch in enumerate(micro_batches, start=1):
            last = number == len(micro_batches)
            with nullcontext() if last else self.accelerator.no_sync(model):
                losses.append(super().training_step(model, micro_batch, self.step_weight))
        return torch.stack(losses).sum()


class MeasuredTrainer(Protocol):
    """What StepCallback asks after a step. step_tokens: processed in it, on all processes."""

    step_tokens: int

    def take_metrics(self) -> dict[str, float]:
        """The step's metrics; every process calls it."""
        ...


class StepCallback(TrainerCallback):
    """Hands each step's metrics on."""

    def __init__(self, trainer: MeasuredTrainer, on_step: OnStep) -> None:
        self._trainer, self._on_step = trainer, on_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by transformers on every process."""
        self._on_step(state.global_step, self._trainer.take_metrics(), self._trainer.step_tokens)


def shared_arguments(context: StageContext, optimizer: Optimizer, steps: int, state: Path) -> dict[str, Any]:
    """What every trainer is told, also what it would decide itself: precision, logging, the hub."""
    assert isinstance(context.stage, Stage)
    on_cpu = PartialState().device.type == "cpu"
    return {
        "output_dir": str(state),
        "seed": context.seed,
        "max_steps": steps,
        "remove_unused_columns": False,
        "max_grad_norm": optimizer.max_grad_norm,
        "use_cpu": on_cpu,
        # Weights in float32 are multiplied in bfloat16 where a GPU is; on a CPU that would be slower.
        "bf16": not on_cpu and context.recipe.model.dtype == "float32",
        "gradient_checkpointing": context.recipe.model.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "average_tokens_across_devices": False,
        "save_steps": context.stage.checkpoint_every,
        # The one before stays until the newest is sealed.
        "save_total_limit": 2,
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def check_loss(stage: str, step: int, metrics: dict[str, float]) -> None:
    """Raise ValueError if the loss is no number."""
    if not math.isfinite(metrics["loss"]):
        raise ValueError(f"{stage}: the loss is {metrics['loss']} in step {step}; give a lower learning rate")


def leave_checkpoint(trainer: Trainer, tokenizer: PreTrainedTokenizerBase, context: StageContext) -> None:
    """Write the stage's result, then remove its training state. Every process calls this."""
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    save_checkpoint(trainer.accelerator.unwrap_model(trainer.model), tokenizer, context.checkpoint, weights)
    if trainer.accelerator.is_main_process:
        shutil.rmtree(Path(trainer.args.output_dir))
