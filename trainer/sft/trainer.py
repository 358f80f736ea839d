"""TRL's SFT trainer on our batches: weighted token loss, tree masks, metrics of every step."""

from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from trainer.optimizers import optimizer_with_schedule
from trainer.recipe.stages import SFTStage
from trainer.rows.batch import Batch, make_batch
from trainer.sft.plan import Plan
from trainer.sft.sealed import MicroBatchTrainer, OnStep, StepCallback

MOST_LOGITS = 2**24
"""Of one forward pass, up to which they are held at once."""


class RowTrainer(MicroBatchTrainer, SFTTrainer):
    """Trains on the steps of a plan.

    Its dataset is the numbers of all processes' shares and its collator makes a share from its number, so
    that nothing but the number of steps done is needed to resume.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        plan: Plan,
        stage: SFTStage,
        arguments: SFTConfig,
        on_step: OnStep,
    ) -> None:
        self._totals = torch.zeros(3)
        self.vocabulary = model.get_output_embeddings().weight.shape[0]
        super().__init__(
            model=model,
            args=arguments,
            data_collator=_Collator(plan, arguments.world_size, tokenizer),
            train_dataset=Dataset.from_dict({"share": range(plan.steps * arguments.world_size)}),
            processing_class=tokenizer,
            optimizers=optimizer_with_schedule(model, stage.optimizer, plan.steps),
            callbacks=[StepCallback(self, on_step)],
        )

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Weighted cross-entropy in nats, divided by the weight of the whole step on all processes."""
        weights = inputs["weights"][:, 1:]
        losses, right = token_losses(model, inputs, self.vocabulary)
        summed = (losses * weights).sum()
        counts = [summed, right.sum(), (weights > 0).sum()]
        self._totals = self._totals.to(losses.device) + torch.stack(
            [count.detach().float() for count in counts]
        )
        # Data parallelism averages gradients over processes, each of which divides by the weight of all.
        loss = summed / num_items_in_batch * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def take_metrics(self) -> dict[str, float]:
        """Means over the last step's trained tokens, on all processes. Every process calls it."""
        summed, right, trained = self.accelerator.reduce(self._totals, "sum").tolist()
        self._totals = torch.zeros(3)
        return {
            "loss": summed / self.step_weight,
            "accuracy/token": right / max(1.0, trained),
        }


def as_inputs(batch: Batch) -> dict[str, torch.Tensor | None]:
    """A batch as accelerate moves it to a device."""
    return {"ids": batch.ids, "weights": batch.weights, "positions": batch.positions, "mask": batch.mask}


def token_losses(
    model: nn.Module, inputs: dict[str, Any], vocabulary: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy in nats of every token but the first, and whether each is the model's first choice.

    Both have shape (sequences, length - 1) and are 0 where not trained. Where all logits would be many, TRL's
    head computes what is needed of them in tiles; where they are few, that would cost more than it saves.
    """
    ids, trained = inputs["ids"], inputs["weights"][:, 1:] > 0
    arguments = {
        "input_ids": ids,
        "position_ids": inputs["positions"],
        "attention_mask": inputs["mask"],
        "use_cache": False,
    }
    if ids.numel() * vocabulary > MOST_LOGITS:
        outputs = model(**arguments, labels=ids.masked_fill(inputs["weights"] == 0, -100), fused_lm_head=True)
        return -outputs.log_probs, (outputs.is_top1 != 0) & trained
    logits, targets = model(**arguments).logits[:, :-1][trained], ids[:, 1:][trained]
    losses = functional.cross_entropy(logits.float(), targets, reduction="none")
    empty = torch.zeros(trained.shape, device=ids.device)
    right = torch.zeros_like(trained).masked_scatter(trained, logits.detach().argmax(-1) == targets)
    return empty.masked_scatter(trained, losses), right


class _Collator:
    """Makes one process's share of a step from its number: step times processes, plus the process."""

    def __init__(self, plan: Plan, processes: int, tokenizer: PreTrainedTokenizerBase) -> None:
        self._plan, self._processes = plan, processes
        # Padding is never looked at nor trained, so any token will do.
        self._pad = 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def __call__(self, examples: list[Mapping[str, int]]) -> dict[str, Any]:
        (example,) = examples
        share = self._plan.share(*divmod(example["share"], self._processes))
        return {
            "micro_batches": [
                as_inputs(make_batch(sequences, self._pad)) for sequences in share.micro_batches
            ],
            "weight": share.weight,
            "tokens": share.tokens,
        }
