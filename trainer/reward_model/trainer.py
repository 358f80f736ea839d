"""TRL's reward trainer on our pairs: weights, micro-batches of like length, metrics of every step."""

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import RewardConfig, RewardTrainer

from trainer.objectives.bradley_terry import bradley_terry_loss
from trainer.optimizers import optimizer_with_schedule
from trainer.preference.pairs import Pair
from trainer.preference.plan import PairPlan
from trainer.preference.trainer import PairCollator
from trainer.recipe.reward_model import RewardModelStage
from trainer.sft.sealed import MicroBatchTrainer, OnStep, StepCallback


class ScoreTrainer(MicroBatchTrainer, RewardTrainer):
    """Trains on the steps of a plan.

    TRL's loss has no weight for each pair, so `compute_loss` is ours; with equal weights it is TRL's.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[Pair],
        stage: RewardModelStage,
        plan: PairPlan,
        arguments: RewardConfig,
        on_step: OnStep,
    ) -> None:
        self._centring = stage.centring
        self._sums = torch.zeros(4, dtype=torch.float64)
        super().__init__(
            model=model,
            args=arguments,
            data_collator=PairCollator(pairs, plan, arguments.world_size, tokenizer),
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
        """The pairs' weighted losses, divided by the weight of the whole step on all processes."""
        chosen, rejected = pair_scores(model, inputs["ids"])
        weights = inputs["weights"]
        summed = (weights * bradley_terry_loss(chosen, rejected, self._centring)).sum()
        counts = (weights > 0).double()
        margins = (chosen - rejected).detach().double()
        counted = torch.stack(
            [
                summed.detach().double(),
                counts.sum(),
                (counts * (margins > 0)).sum(),
                (counts * margins).sum(),
            ]
        )
        self._sums = self._sums.to(counted.device) + counted
        # Data parallelism averages gradients over processes, each of which divides by the weight of all.
        loss = summed / num_items_in_batch * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def take_metrics(self) -> dict[str, float]:
        """Means over the last step's pairs, on all processes. Every process calls it."""
        loss, pairs, right, margin = self.accelerator.reduce(self._sums, "sum").tolist()
        self._sums = torch.zeros_like(self._sums)
        return {"loss": loss / self.step_weight, "accuracy/pairs": right / pairs, "margin": margin / pairs}

    def _prepare_dataset(self, dataset: Dataset, *arguments: Any) -> Dataset:
        """Pairs are token ids already."""
        return dataset


def pair_scores(model: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of chosen and of rejected replies, [pairs] each, of 2 pairs right-padded rows, chosen first."""
    # Padding on the right needs no attention mask, as no earlier token sees it.
    scores = model(input_ids=ids, use_cache=False).logits.squeeze(-1).float()
    chosen, rejected = scores.chunk(2)
    return chosen, rejected
