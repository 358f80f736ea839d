"""Objectives of reinforcement learning on groups of rollouts, as functions of tensors.

    advantages      a group's rewards relative to one another; groups without a signal
    masks           which tokens train
    gae             a token's advantage by a critic: rewards of tokens, GAE, whitening
    value           what trains a critic
    ratio           importance ratios of the policy, and the correction for an engine that is not the trainer
    clipping        the clipped surrogate
    squared         Kimi k1.5's squared loss, in its place
    kl, entropy     what is added to it
    normalisation   from per-token losses to one number, exact over micro-batches and processes
    statistics      what a step logs
    preference      losses of pairs of replies
    policy          all of it, as the recipe's `Objective` says

Nothing here knows of models, tokenizers or processes. Each option names its paper and equation:
GRPO: DeepSeekMath, arXiv 2402.03300. Dr. GRPO: Liu et al., "Understanding R1-Zero-Like Training",
arXiv 2503.20783. DAPO: Yu et al., arXiv 2503.14476. GSPO: Zheng et al., arXiv 2507.18071.
PPO: Schulman et al., arXiv 1707.06347. TIS: Yao et al., "Your Efficient RL Framework Secretly Brings You
Off-Policy RL Training", 2025. Kimi k1.5: Kimi Team, arXiv 2501.12599.
"""

from trainer.objectives.advantages import group_advantages, zero_variance
from trainer.objectives.entropy import entropy
from trainer.objectives.kl import kl_estimate
from trainer.objectives.masks import loss_mask
from trainer.objectives.normalisation import normaliser
from trainer.objectives.policy import policy_loss
from trainer.objectives.statistics import PolicyStats

__all__ = [
    "PolicyStats",
    "entropy",
    "group_advantages",
    "kl_estimate",
    "loss_mask",
    "normaliser",
    "policy_loss",
    "zero_variance",
]
