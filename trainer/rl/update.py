"""A step's optimizer updates: old and reference log-probabilities, losses over micro-batches, steps."""

import contextlib
import math
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import nn

from trainer.objectives import PolicyStats, policy_loss
from trainer.optimizers import reset_optimizer
from trainer.recipe.model import Optimizer
from trainer.recipe.rl import Objective
from trainer.rl.batches import MicroBatch, Minibatch
from trainer.rl.collapse import CollapseError
from trainer.rl.policy import token_logprobs


class PolicyUpdate:
    """Trains the policy on a step's minibatches, in turn, `epochs` times.

    Gradients of a minibatch are exact sums over its micro-batches and processes, whatever their number.
    """

    def __init__(
        self,
        model: nn.Module,
        reference: nn.Module | None,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        objective: Objective,
        settings: Optimizer,
        temperature: float,
    ) -> None:
        self._model, self._reference, self._optimizer = model, reference, optimizer
        self._accelerator, self._objective, self._settings = accelerator, objective, settings
        self._temperature = temperature

    def run(self, minibatches: Sequence[Minibatch]) -> dict[str, float]:
        """Update the policy; returns means: `loss`, `gradient/norm` and the statistics of `PolicyStats`.

        Raises CollapseError, before the weights are touched, when a gradient is not finite.
        """
        self._model.train()
        if self._objective.reset_optimizer:
            reset_optimizer(self._optimizer)
        self._score_before(minibatches)
        losses, norms, stats = [], [], []
        for minibatch in list(minibatches) * self._objective.epochs:
            loss, norm, its_stats = self._step(minibatch)
            losses.append(loss)
            norms.append(norm)
            stats.append(its_stats)
        total = sum(stats[1:], start=stats[0])
        total = PolicyStats(
            self._accelerator.reduce(total.sums, "sum"), self._accelerator.gather(total.maxima[None]).amax(0)
        )
        metrics = total.metrics()
        # Measured on all rollouts instead, also on those without a gradient.
        metrics.pop("entropy", None)
        return {
            "loss": sum(losses) / len(losses),
            "gradient/norm": sum(norms) / len(norms),
            **metrics,
        }

    @torch.no_grad()
    def _score_before(self, minibatches: Sequence[Minibatch]) -> None:
        """Fill in `old` and `reference`; with one update, the old policy is the one that is trained."""
        several = self._objective.epochs * len(minibatches) > 1
        for minibatch in minibatches:
            for batch in minibatch.micro_batches:
                if several:
                    batch.old, _ = token_logprobs(self._model, batch, self._temperature)
                if self._reference is not None:
                    batch.reference, _ = token_logprobs(self._reference, batch, self._temperature)

    def _step(self, minibatch: Minibatch) -> tuple[float, float, PolicyStats]:
        ranks = self._accelerator.num_processes
        losses, stats = [], []
        for number, batch in enumerate(minibatch.micro_batches):
            last = number == len(minibatch.micro_batches) - 1
            with contextlib.nullcontext() if last else self._accelerator.no_sync(self._model):
                loss, its_stats = self._loss(batch, minibatch.normaliser)
                # Data-parallel wrappers average gradients over processes; the normaliser wants their sum.
                self._accelerator.backward(loss * ranks)
            losses.append(loss.detach())
            stats.append(its_stats)
        norm = self._accelerator.clip_grad_norm_(self._model.parameters(), self._settings.max_grad_norm)
        loss = float(self._accelerator.reduce(torch.stack(losses).sum(), "sum"))
        if not math.isfinite(loss) or not math.isfinite(float(norm)):
            raise CollapseError(
                f"the loss is {loss:.4g} and its gradient's norm {float(norm):.4g}, which no update can use; "
                "try a lower optimizer.adamw_lr (and muon_lr), a lower objective.correction_cap, or "
                "model.dtype float32"
            )
        self._optimizer.step()
        self._optimizer.zero_grad()
        return loss, float(norm), sum(stats[1:], start=stats[0])

    def _loss(self, batch: MicroBatch, normaliser: float) -> tuple[torch.Tensor, PolicyStats]:
        logprobs, entropies = token_logprobs(
            self._model, batch, self._temperature, with_entropy=self._objective.entropy_bonus != 0
        )
        return policy_loss(
            logprobs,
            logprobs.detach() if batch.old is None else batch.old,
            batch.rollout_logprobs,
            batch.advantages,
            batch.mask,
            batch.reference,
            self._objective,
            normaliser,
            entropies,
        )
