"""Settings of a critic: what makes the RL loop PPO."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from trainer.recipe.model import Optimizer
from trainer.recipe.rl import KL, Collapse, Objective, RewardTerm, Rollouts
from trainer.recipe.section import Section


class Critic(Section):
    """A value function of its own for every token, instead of comparing the replies of a group (PPO)."""

    network: Literal["head", "model"] = "head"
    """A linear head on the policy's last layer, or a model of its own, all of whose weights are trained."""
    path: Path | None = None
    """What a model of its own begins with, such as a reward model of the policy's tokens (InstructGPT); None
    is what the policy begins with."""
    coefficient: float | None = Field(default=None, gt=0)
    """Of the value loss in a head's and the policy's common loss (PPO, eq. 9, c1); None is 0.1."""
    optimizer: Optimizer | None = None
    """Of the head or the model; None is the stage's."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount of each sampled token."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """GAE's lambda."""
    value_lam: float | None = Field(default=None, ge=0, le=1)
    """Lambda of the returns that values are trained towards (VC-PPO's decoupled GAE); None is `lam`."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps at the stage's start that train the critic alone (VC-PPO's value pretraining)."""
    value_clip: float | None = Field(default=0.2, gt=0)
    """Farthest that a value may gain by moving from what it was before the step; None does not clip."""
    whiten: bool = True
    """Advantages less their mean, over their deviation, among all tokens of a step."""
    kl_in_reward: bool = False
    """`objective.kl` in the reward of each token (Ziegler et al., InstructGPT) instead of in the loss."""

    @model_validator(mode="after")
    def _network_members(self) -> "Critic":
        if self.network == "head" and self.path is not None:
            raise ValueError(
                f"path: {str(self.path)!r} is wrong because a head stands on the policy; leave it out, "
                "or give network 'model'"
            )
        if self.network == "head" and self.optimizer and self.optimizer.muon_lr is not None:
            raise ValueError(
                f"optimizer.muon_lr: {self.optimizer.muon_lr} is wrong because a head has no layers for "
                "Muon; leave it out"
            )
        if self.network == "model" and self.coefficient is not None:
            raise ValueError(
                f"coefficient: {self.coefficient} is wrong because a model of its own shares no weights with "
                "the policy; leave it out, and give optimizer.adamw_lr"
            )
        return self


def check_advantages(
    critic: Critic | None,
    steps: int,
    group_size: int,
    objective: Objective,
    rollouts: Rollouts,
    rewards: Sequence[RewardTerm],
    collapse: Collapse | None,
) -> None:
    """Raises ValueError for what cannot matter, or cannot be, with or without a critic."""
    if critic is None:
        if group_size < 2:
            raise ValueError(
                f"group_size: {group_size} is wrong because a reply's advantage is its reward less its "
                "group's mean; give 2 or more, or a critic"
            )
        return
    if objective.loss == "squared":
        raise ValueError(
            "objective.loss: 'squared' is wrong because it is of whole replies and a critic's advantages are "
            "each token's own; leave out critic, or give 'clipped'"
        )
    if critic.warmup_steps >= steps:
        raise ValueError(
            f"critic.warmup_steps: {critic.warmup_steps} is wrong because the stage has {steps} steps, in "
            "none of which the policy would train; give less"
        )
    if objective.advantage_std:
        raise ValueError(
            "objective.advantage_std: true is wrong because a critic's advantages are not a group's; give "
            "critic.whiten"
        )
    if objective.ratio != "token":
        raise ValueError(
            f"objective.ratio: {objective.ratio!r} is wrong because a critic's advantages are each token's "
            "own; give 'token'"
        )
    if rollouts.refill:
        raise ValueError(
            f"rollouts.refill: {rollouts.refill} is wrong because a critic learns from groups of equal "
            "rewards too, and would take what is left for all there is; leave it out"
        )
    if critic.kl_in_reward:
        _check_kl(objective.kl)
    if group_size == 1:
        _check_single(rewards, collapse)


def _check_kl(kl: KL) -> None:
    if kl.coefficient == 0:
        raise ValueError(
            "critic.kl_in_reward: true is wrong because objective.kl.coefficient is 0; give a coefficient"
        )
    if kl.estimator != "k1":
        raise ValueError(
            f"objective.kl.estimator: {kl.estimator!r} is wrong because as a reward only the log-ratio has "
            "the gradient of the divergence; give 'k1', or critic.kl_in_reward false"
        )


def _check_single(rewards: Sequence[RewardTerm], collapse: Collapse | None) -> None:
    for term in rewards:
        if term.name == "length" or (term.name == "judge" and term.options.get("form") == "compare"):
            raise ValueError(
                f"rewards.{term.name}: is wrong because it compares the replies of a group and group_size is "
                "1; give a larger group_size, or leave it out"
            )
    if collapse is not None and collapse.zero_variance < 1:
        raise ValueError(
            f"collapse.zero_variance: {collapse.zero_variance} is wrong because group_size is 1; leave it out"
        )
