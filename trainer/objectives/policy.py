"""The policy-gradient loss, put together as the recipe says."""

import torch
from torch import Tensor

from trainer.objectives.clipping import clipped, clipped_surrogate
from trainer.objectives.kl import kl_estimate
from trainer.objectives.normalisation import total
from trainer.objectives.ratio import engine_correction, importance_ratio
from trainer.objectives.squared import squared_surrogate
from trainer.objectives.statistics import PolicyStats
from trainer.recipe.rl import Objective


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    rollout_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    reference_logprobs: Tensor | None,
    settings: Objective,
    normaliser: float,
    entropies: Tensor | None = None,
    kl_in_loss: bool = True,
) -> tuple[Tensor, PolicyStats]:
    """Loss of one micro-batch of rollouts, to be minimised, and its statistics.

    Per token: -S + beta KL - c H, with beta `kl.coefficient`, c `entropy_bonus` (PPO, eq. 9), and S of
    loss clipped: w min(r A, clip(r) A), w the engine's correction, r the importance ratio, A the advantage;
    loss squared: w A log r - (tau / 2) rho log r, rho the rollout's sum of log r (`squared_surrogate`).
    Masked tokens have exactly zero gradient, whatever their values.

    Args:
        logprobs: log pi(token) with gradients, [rows, tokens], under the sampling temperature.
        old_logprobs: the trainer's, before the step's first update: `logprobs` itself where there is only
            one. No gradient goes through them.
        rollout_logprobs: the engine's, when it sampled.
        advantages: one for each rollout, [rows], or for each token, [rows, tokens].
        mask: tokens that train (`loss_mask`), boolean [rows, tokens].
        reference_logprobs: the reference policy's; needed where kl.coefficient > 0.
        settings: the recipe's objective.
        normaliser: of the whole optimizer step, over all micro-batches and processes (`normaliser`). The
            losses of micro-batches then add up to the step's, so accumulate them without dividing; where
            gradients are averaged over processes (DDP, FSDP), multiply the loss by their number.
        entropies: of the distribution at each token (`entropy`), [rows, tokens]; needed where entropy_bonus
            is not 0, else for the statistics only.
        kl_in_loss: False measures the KL only: it is in the rewards already.

    Raises:
        ValueError: what a term needs is missing, or the normaliser is not positive.
    """
    if normaliser <= 0:
        raise ValueError(f"normaliser: {normaliser} is not positive; give what `normaliser` returns")
    old_logprobs = old_logprobs.detach()
    spread = advantages if advantages.dim() == 2 else advantages.unsqueeze(1).expand_as(logprobs)
    ratio = importance_ratio(logprobs, old_logprobs, mask, settings.ratio)
    weight = engine_correction(
        old_logprobs, rollout_logprobs, mask, settings.correction, settings.correction_cap
    )
    mismatch = torch.where(mask, old_logprobs - rollout_logprobs, 0.0)
    sums = {
        "ratio/mean": ratio,
        "mismatch/kl": mismatch.exp() - 1 - mismatch,
        "mismatch/capped": weight >= settings.correction_cap,
    }
    if settings.loss == "squared":
        assert settings.tau is not None
        log_ratio = torch.where(mask, logprobs - old_logprobs, 0.0)
        loss = -squared_surrogate(log_ratio, spread, weight, settings.tau)
        sums["ratio/log_square"] = log_ratio.sum(dim=1, keepdim=True).square().expand_as(log_ratio)
    else:
        loss = -weight * clipped_surrogate(ratio, spread, settings.clip_low, settings.clip_high)
        low, high = clipped(ratio, spread, settings.clip_low, settings.clip_high)
        sums |= {"clip/low": low, "clip/high": high}
    if settings.kl.coefficient > 0:
        if reference_logprobs is None:
            raise ValueError("reference_logprobs: None, but kl.coefficient is not 0; give the reference's")
        difference = torch.where(mask, logprobs - reference_logprobs, 0.0)
        kl = kl_estimate(difference, torch.zeros_like(difference), settings.kl.estimator)
        if kl_in_loss:
            loss = loss + settings.kl.coefficient * kl
        sums["kl"] = kl
    if entropies is not None:
        entropies = torch.where(mask, entropies, 0.0)
        sums["entropy"] = entropies
    if settings.entropy_bonus != 0:
        if entropies is None:
            raise ValueError("entropies: None, but entropy_bonus is not 0; give those of the tokens")
        loss = loss - settings.entropy_bonus * entropies
    maxima = {"ratio/max": ratio, "mismatch/max": mismatch.abs()}
    return total(loss, mask, settings.normalisation) / normaliser, PolicyStats.of(mask, sums, maxima)
