"""A step's optimizer updates: what was before them, losses over micro-batches, steps."""

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
from trainer.rl.critic import Critic
from trainer.rl.policy import TokenOutputs, token_outputs


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
        critic: Critic | None = None,
        kl_in_loss: bool = True,
    ) -> None:
        self._model, self._reference, self._optimizer = model, reference, optimizer
        self._accelerator, self._objective, self._settings = accelerator, objective, settings
        self._temperature, self._critic, self._kl_in_loss = temperature, critic, kl_in_loss
        self._policy_trains = True

    def run(self, minibatches: Sequence[Minibatch], policy_trains: bool = True) -> dict[str, float]:
        """Update the policy, and its critic or only that; returns means of what they log.

        They are `loss`, `gradient/norm`, the statistics of `PolicyStats` and the critic's metrics.

        Raises CollapseError, before the weights are touched, when a gradient is not finite.
        """
        self._model.train()
        self._policy_trains = policy_trains
        if self._objective.reset_optimizer:
            reset_optimizer(self._optimizer)
        measured = self._score_before(minibatches)
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
        if self._critic is not None:
            metrics |= measured | self._critic.metrics()
        return {
            "loss": sum(losses) / len(losses),
            "gradient/norm": sum(norms) / len(norms),
            **metrics,
        }

    @torch.no_grad()
    def _score_before(self, minibatches: Sequence[Minibatch]) -> dict[str, float]:
        """Fill in what the losses compare with; returns what the critic has to log.

        With one update and no critic, the old policy is the one that is trained.
        """
        critic = self._critic
        wanted = critic is not None or self._objective.epochs * len(minibatches) > 1
        for minibatch in minibatches:
            for batch in minibatch.micro_batches:
                if wanted:
                    outputs = self._outputs(batch)
                    batch.old = outputs.logprobs
                    batch.values = None if critic is None else critic.values(batch, outputs.hidden)
                if self._reference is not None:
                    batch.reference = token_outputs(self._reference, batch, self._temperature).logprobs
        return {} if critic is None else critic.advantages(minibatches)

    def _step(self, minibatch: Minibatch) -> tuple[float, float, PolicyStats]:
        ranks = self._accelerator.num_processes
        losses, stats = [], []
        for number, batch in enumerate(minibatch.micro_batches):
            last = number == len(minibatch.micro_batches) - 1
            with contextlib.ExitStack() as stack:
                if not last:
                    stack.enter_context(self._accelerator.no_sync(self._model))
                    if self._critic is not None:
                        stack.enter_context(self._critic.no_sync())
                loss, its_stats = self._loss(batch, minibatch.normaliser)
                # Data-parallel wrappers average gradients over processes; the normaliser wants their sum.
                self._accelerator.backward(loss * ranks)
            losses.append(loss.detach())
            stats.append(its_stats)
        norm = self._accelerator.clip_grad_norm_(self._model.parameters(), self._settings.max_grad_norm)
        critic_norm = 0.0 if self._critic is None else self._critic.clip_gradients()
        loss = float(self._accelerator.reduce(torch.stack(losses).sum(), "sum"))
        if not all(map(math.isfinite, (loss, float(norm), critic_norm))):
            raise CollapseError(
                f"the loss is {loss:.4g} and its gradient's norm {float(norm):.4g}, which no update can use; "
                "try a lower optimizer.adamw_lr (and muon_lr), a lower objective.correction_cap, or "
                "model.dtype float32"
            )
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._critic is not None:
            self._critic.step()
        return loss, float(norm), sum(stats[1:], start=stats[0])

    def _loss(self, batch: MicroBatch, normaliser: float) -> tuple[torch.Tensor, PolicyStats]:
        with torch.set_grad_enabled(self._policy_trains):
            outputs = self._outputs(batch, with_entropy=self._objective.entropy_bonus != 0)
        loss, stats = policy_loss(
            outputs.logprobs,
            outputs.logprobs.detach() if batch.old is None else batch.old,
            batch.rollout_logprobs,
            batch.advantages,
            batch.mask,
            batch.reference,
            self._objective,
            normaliser,
            outputs.entropies,
            self._kl_in_loss,
        )
        if self._critic is not None:
            loss = loss + self._critic.loss(batch, outputs.hidden, normaliser)
        return loss, stats

    def _outputs(self, batch: MicroBatch, with_entropy: bool = False) -> TokenOutputs:
        with_hidden = self._critic is not None and self._critic.on_policy
        return token_outputs(self._model, batch, self._temperature, with_entropy, with_hidden)
