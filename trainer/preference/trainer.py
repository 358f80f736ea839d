"""TRL's DPO trainer on our pairs: weights, inserted tokens without loss, a cache that outlives a kill."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer

from trainer.objectives.preference import pair_losses, uses_reference
from trainer.optimizers import optimizer_with_schedule
from trainer.preference.batch import TokenLogprobs, compare, pair_inputs
from trainer.preference.metrics import NAMES, pair_metrics, pair_sums
from trainer.preference.pairs import Pair
from trainer.preference.plan import PairPlan
from trainer.preference.reference import read_reference, write_reference
from trainer.recipe.stages import DPO
from trainer.sft.sealed import MicroBatchTrainer, OnStep, StepCallback


class PairTrainer(MicroBatchTrainer, DPOTrainer):
    """Trains on the steps of a plan.

    TRL's losses have no weight for each pair, no margin without a reference and no KL term, so `compute_loss`
    is ours, on TRL's fused head. Its reference log-probabilities are cached where a resumed run does not find
    them, so `_precompute_ref_logps` is ours too. `reference` has them afterwards: for a loss without a
    reference, of the held-out pairs only.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[Pair],
        held_out: Sequence[Pair],
        stage: DPO,
        plan: PairPlan,
        cache: Path,
        arguments: DPOConfig,
        on_step: OnStep,
    ) -> None:
        self._stage, self._cache = stage, cache
        self._objective = stage.objective
        self._compared = list(held_out)
        if uses_reference(stage.objective):
            self._compared = [*pairs, *held_out]
        self._sums = torch.zeros(1 + len(NAMES), dtype=torch.float64)
        collator = PairCollator(pairs, plan, arguments.world_size, tokenizer)
        super().__init__(
            model=model,
            args=arguments,
            data_collator=collator,
            train_dataset=Dataset.from_dict({"share": range(plan.steps * arguments.world_size)}),
            processing_class=tokenizer,
            optimizers=optimizer_with_schedule(model, stage.optimizer, plan.steps),
            callbacks=[StepCallback(self, on_step)],
        )
        self.reference = read_reference(cache, self._compared)
        if uses_reference(stage.objective):
            collator.reference = self.reference[: len(pairs)]
        self.held_out_reference = self.reference[len(self._compared) - len(held_out) :]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The pairs' weighted losses, divided by the weight of the whole step on all processes."""
        compared = compare(model, inputs)
        summed = (compared.weights * pair_losses(compared.chosen, compared.rejected, self._objective)).sum()
        counted = torch.cat([summed.detach().double().view(1), pair_sums(compared, self._objective)])
        self._sums = self._sums.to(counted.device) + counted
        # Data parallelism averages gradients over processes, each of which divides by the weight of all.
        loss = summed / num_items_in_batch * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def take_metrics(self) -> dict[str, float]:
        """Means over the last step's pairs, on all processes. Every process calls it."""
        sums = self.accelerator.reduce(self._sums, "sum").cpu()
        self._sums = torch.zeros_like(sums)
        return {
            "loss": sums[0].item() / self.step_weight,
            **pair_metrics(sums[1:], uses_reference(self._objective)),
        }

    def _prepare_dataset(self, dataset: Dataset, *arguments: Any) -> Dataset:
        """Pairs are token ids already."""
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Called before the first step, when the policy is still the reference."""
        model = self.model.to(self.accelerator.device)
        was_training = model.training
        model.eval()
        with self.accelerator.autocast():
            write_reference(
                self._cache,
                self._compared,
                model,
                self._stage.micro_batch_tokens,
                self.accelerator.device,
                self.accelerator.process_index,
                self.accelerator.num_processes,
            )
        model.train(was_training)
        self.accelerator.wait_for_everyone()
        return dataset


class PairCollator:
    """Makes one process's share of a step from its number: step times processes, plus the process."""

    def __init__(
        self, pairs: Sequence[Pair], plan: PairPlan, processes: int, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self._pairs, self._plan, self._processes = pairs, plan, processes
        # Padding is never looked at nor trained, so any token will do.
        self._pad = 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.reference: list[TokenLogprobs] | None = None

    def __call__(self, examples: list[Mapping[str, int]]) -> dict[str, Any]:
        (example,) = examples
        share = self._plan.share(*divmod(example["share"], self._processes))
        return {
            "micro_batches": [self._inputs(numbers) for numbers in share.micro_batches],
            "weight": share.weight,
            "tokens": share.tokens,
        }

    def _inputs(self, numbers: list[int]) -> dict[str, torch.Tensor]:
        # A process without work does what the others do, on a pair that does not count.
        chosen = numbers or [0]
        known = None if self.reference is None else [self.reference[number] for number in chosen]
        return pair_inputs([self._pairs[number] for number in chosen], known, self._pad, bool(numbers))
