"""The critic of a stage: its values, the advantages they give, and how it is trained beside the policy."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForTokenClassification, PreTrainedModel

from trainer.checkpoints import load_tokenizer
from trainer.objectives.gae import gae, mean_and_deviation, moments, token_rewards, whiten
from trainer.objectives.normalisation import total
from trainer.objectives.value import explained_variance, value_loss
from trainer.optimizers import build_optimizer, set_learning_rate
from trainer.recipe.critic import Critic as Settings
from trainer.recipe.model import Model, Optimizer
from trainer.recipe.rl import Objective
from trainer.rl.batches import MicroBatch, Minibatch

HEAD_COEFFICIENT = 0.1
"""Of the value loss where the policy shares the weights and the recipe gives none."""


class Critic:
    """Values of a batch's tokens, by a head on the policy or by a model of its own, and their training.

    A head is a row of numbers that every process holds whole, so its gradient is summed here, whatever wraps
    the policy. A model of its own is wrapped as the policy is.
    """

    def __init__(
        self,
        settings: Settings,
        network: nn.Module,
        optimizer: Optimizer,
        objective: Objective,
        accelerator: Accelerator,
    ) -> None:
        self._settings, self._objective, self._accelerator = settings, objective, accelerator
        self._optimizer_settings = optimizer
        self.on_policy = settings.network == "head"
        self._optimizer: Any = build_optimizer(network, optimizer)
        if self.on_policy:
            self._network = network.to(accelerator.device)
            accelerator.register_for_checkpointing(self._network, self._optimizer)
        else:
            self._network, self._optimizer = accelerator.prepare(network, self._optimizer)
        self._seen: list[Tensor] = []

    def set_learning_rate(self, progress: float) -> None:
        """Set the rate for `progress` of the stage, in [0, 1)."""
        set_learning_rate(self._optimizer, progress, self._optimizer_settings)

    def values(self, batch: MicroBatch, hidden: Tensor | None) -> Tensor:
        """V of the state before each token, [rows, W], float32; `hidden` is the policy's, for a head."""
        self._network.train()
        if hidden is not None:
            return self._network(hidden.float()).squeeze(-1)
        scores = self._network(input_ids=batch.inputs, use_cache=False).logits
        return scores[:, -batch.targets.shape[1] :, 0].float()

    @torch.no_grad()
    def advantages(self, minibatches: Sequence[Minibatch]) -> dict[str, float]:
        """Fill in `advantages` and `returns` from `old`, `reference` and `values`; returns what to log.

        Explained variance is of the returns that came, whatever lambda is.
        """
        batches = [batch for minibatch in minibatches for batch in minibatch.micro_batches]
        gamma, lam = self._settings.gamma, self._settings.lam
        counted = []
        for batch in batches:
            assert batch.values is not None
            penalty = None
            if self._settings.kl_in_reward:
                assert batch.old is not None
                assert batch.reference is not None
                penalty = self._objective.kl.coefficient * (batch.old - batch.reference)
            rewards = token_rewards(batch.rewards, batch.mask, penalty)
            its = gae(rewards, batch.values, batch.mask, gamma, lam)
            errors = gae(rewards, batch.values, batch.mask, gamma, 1.0)
            batch.advantages = its
            if self._settings.value_lam is None:
                batch.returns = (its + batch.values).float()
            else:
                towards = gae(rewards, batch.values, batch.mask, gamma, self._settings.value_lam)
                batch.returns = (towards + batch.values).float()
            measured = (its, errors, errors + batch.values, batch.values)
            counted.append(torch.stack([moments(one, batch.mask) for one in measured]))
        sums = self._accelerator.reduce(torch.stack(counted).sum(0), "sum")
        for batch in batches:
            if self._settings.whiten:
                batch.advantages = whiten(batch.advantages, batch.mask, sums[0])
            batch.advantages = batch.advantages.float()
        mean, deviation = mean_and_deviation(sums[0])
        return {
            "advantage/mean": float(mean),
            "advantage/std": float(deviation),
            "value/mean": float(mean_and_deviation(sums[3])[0]),
            "value/explained_variance": explained_variance(sums[2], sums[1]),
        }

    def loss(self, batch: MicroBatch, hidden: Tensor | None, normaliser: float) -> Tensor:
        """The value loss of a micro-batch, summed and divided as the policy's is."""
        assert batch.values is not None
        assert batch.returns is not None
        values = self.values(batch, hidden)
        losses, clipped = value_loss(values, batch.values, batch.returns, self._settings.value_clip)
        loss = total(losses, batch.mask, self._objective.normalisation) / normaliser
        with torch.no_grad():
            self._seen.append(torch.stack([moments(one, batch.mask) for one in (losses, clipped)]))
        if not self.on_policy:
            return loss
        coefficient = self._settings.coefficient
        return loss * (HEAD_COEFFICIENT if coefficient is None else coefficient)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients of a model of its own stay on this process."""
        with contextlib.nullcontext() if self.on_policy else self._accelerator.no_sync(self._network):
            yield

    def clip_gradients(self) -> float:
        """Sum a head's gradients over processes, limit their norm, and return what it was."""
        weights = list(self._network.parameters())
        if not self.on_policy:
            return float(self._accelerator.clip_grad_norm_(weights, self._optimizer_settings.max_grad_norm))
        for weight in weights:
            weight.grad = self._accelerator.reduce(weight.grad, "mean")
        return float(nn.utils.clip_grad_norm_(weights, self._optimizer_settings.max_grad_norm))

    def step(self) -> None:
        """One update with the gradients there are."""
        self._optimizer.step()
        self._optimizer.zero_grad()

    def metrics(self) -> dict[str, float]:
        """Means over the tokens of all updates since the last call: squared error, and the share clipped."""
        loss, clipped = self._accelerator.reduce(torch.stack(self._seen).sum(0), "sum")
        self._seen = []
        return {
            "value/loss": float(mean_and_deviation(loss)[0]),
            "value/clip": float(mean_and_deviation(clipped)[0]),
        }


def open_critic(
    settings: Settings,
    stage_optimizer: Optimizer,
    objective: Objective,
    model: Model,
    policy: PreTrainedModel,
    start: Path,
    accelerator: Accelerator,
) -> Critic:
    """The critic of a stage whose policy begins with `start`; its first values are 0, or a reward model's.

    Raises:
        ValueError: `settings.path` holds a model of other tokens.
    """
    optimizer = settings.optimizer or stage_optimizer
    network: nn.Module
    if settings.network == "head":
        optimizer = optimizer.model_copy(update={"muon_lr": None})
        network = _zeroed(nn.Linear(policy.config.get_text_config().hidden_size, 1))
    else:
        path = settings.path or start
        if load_tokenizer(path).get_vocab() != load_tokenizer(start).get_vocab():
            raise ValueError(
                f"critic.path: {str(path)!r} is wrong because its tokens are not those of {str(start)!r}; "
                "give a model of the same tokenizer"
            )
        network = _value_model(path, model)
    return Critic(settings, network, optimizer, objective, accelerator)


def _value_model(path: Path, settings: Model) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(path, num_labels=1)
    # Such heads have dropout unless their configuration says otherwise, and values must not be noise.
    config.classifier_dropout = 0.0
    model, info = AutoModelForTokenClassification.from_pretrained(
        path, config=config, dtype=getattr(torch, settings.dtype), output_loading_info=True
    )
    # The head, or of a reward model's head the part that it has not.
    for name in info["missing_keys"]:
        nn.init.zeros_(model.get_parameter(name))
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def _zeroed(head: nn.Linear) -> nn.Linear:
    for weights in head.parameters():
        nn.init.zeros_(weights)
    return head
