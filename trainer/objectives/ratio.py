"""Importance ratios: of the policy to what it was, and of the trainer to the engine that sampled."""

from typing import Literal

import torch
from torch import Tensor


def importance_ratio(
    logprobs: Tensor, old_logprobs: Tensor, mask: Tensor, level: Literal["token", "sequence"]
) -> Tensor:
    """pi(token) / pi_old(token), with its gradient; [rows, tokens], 1 where masked.

    token: r_t = exp(log pi - log pi_old), PPO, eq. 6, and GRPO, DeepSeekMath eq. 3.
    sequence: s = exp(mean of the reply's log ratios) at each of its tokens, GSPO, eq. 7.
    """
    log_ratio = torch.where(mask, logprobs - old_logprobs, 0.0)
    if level == "sequence":
        lengths = mask.sum(dim=1, keepdim=True).clamp(min=1)
        log_ratio = torch.where(mask, log_ratio.sum(dim=1, keepdim=True) / lengths, 0.0)
    return log_ratio.exp()


def engine_correction(
    old_logprobs: Tensor,
    rollout_logprobs: Tensor,
    mask: Tensor,
    level: Literal["none", "token", "sequence"],
    cap: float,
) -> Tensor:
    """Truncated importance weights, the trainer's old policy over the engine's; [rows, tokens].

    token: min(pi_old / pi_engine, cap) of each token, TIS, Yao et al. 2025.
    sequence: min(product of the reply's ratios, cap) at each of its tokens: unbiased but for the cap, and
    noisier the longer the reply. none: 1.
    """
    if level == "none":
        return torch.ones_like(old_logprobs)
    log_weight = torch.where(mask, old_logprobs - rollout_logprobs, 0.0)
    if level == "sequence":
        log_weight = torch.where(mask, log_weight.sum(dim=1, keepdim=True), 0.0)
    return log_weight.exp().clamp(max=cap)
