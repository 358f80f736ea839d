"""Losses of pairs of replies, of which one is preferred to the other."""

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional

from trainer.objectives.kl import kl_estimate
from trainer.recipe.preference import BETAS, SIMPO_MARGIN, PreferenceLoss, PreferenceObjective


@dataclass(frozen=True, slots=True)
class Replies:
    """One reply of each pair.

    logprobs, reference: log pi of each token under the policy and the reference, [pairs, tokens]. mask:
    tokens that train, boolean [pairs, tokens]; where it is False the values are not looked at.
    """

    logprobs: Tensor
    reference: Tensor
    mask: Tensor

    @property
    def lengths(self) -> Tensor:
        """Tokens that train, at least 1, [pairs]."""
        return self.mask.sum(dim=1).clamp(min=1)

    def total(self) -> Tensor:
        """log pi(y|x), [pairs]."""
        return torch.where(self.mask, self.logprobs, 0.0).sum(dim=1)

    def log_ratio(self) -> Tensor:
        """log pi(y|x) - log pi_ref(y|x), [pairs]."""
        return torch.where(self.mask, self.logprobs - self.reference, 0.0).sum(dim=1)


def uses_reference(settings: PreferenceObjective) -> bool:
    """Whether the loss needs the reference's log-probabilities."""
    return settings.loss != "simpo" or settings.kl > 0


def pair_losses(chosen: Replies, rejected: Replies, settings: PreferenceObjective) -> Tensor:
    """The loss of each pair, to be minimised, [pairs]: the preference, and what holds it back.

    preference_loss + kl D + nll N, with D the mean of `reference_kl` over the tokens of both replies, and N
    the mean of -log pi over those of the chosen one (as Pang et al., arXiv 2404.19733, have it).
    """
    margin = reply_reward(chosen, settings) - reply_reward(rejected, settings)
    losses = preference_loss(margin, settings)
    if settings.kl:
        divergence = reference_kl(chosen).sum(dim=1) + reference_kl(rejected).sum(dim=1)
        losses = losses + settings.kl * divergence / (chosen.lengths + rejected.lengths)
    if settings.nll:
        losses = losses - settings.nll * chosen.total() / chosen.lengths
    return losses


def reply_reward(replies: Replies, settings: PreferenceObjective) -> Tensor:
    """What a loss takes for the reward of a reply, [pairs].

    sigmoid, hinge: beta log(pi / pi_ref), DPO (Rafailov et al., arXiv 2305.18290), eq. 5, no constant.
    sigmoid_norm: that over the reply's length, as Tulu 3 (arXiv 2411.15124) has it.
    simpo: beta / |y| log pi(y|x), SimPO (Meng et al., arXiv 2405.14734), eq. 4.
    ipo: log(pi / pi_ref) over the reply's length; the paper has no length, its authors' code has.
    """
    loss, beta = settings.loss, _beta(settings)
    match loss:
        case "sigmoid" | "hinge":
            return beta * replies.log_ratio()
        case "sigmoid_norm":
            return beta * replies.log_ratio() / replies.lengths
        case "ipo":
            return replies.log_ratio() / replies.lengths
        case "simpo":
            return beta * replies.total() / replies.lengths
        case _:
            assert_never(loss)


def preference_loss(margin: Tensor, settings: PreferenceObjective) -> Tensor:
    """The loss of each pair, [pairs], from the chosen replies' rewards less the rejected ones'.

    sigmoid, sigmoid_norm: -log sigma(margin), DPO, eq. 7.
    simpo: -log sigma(margin - gamma), SimPO, eq. 6.
    hinge: max(0, 1 - margin), as SLiC-HF (Zhao et al., arXiv 2305.10425) has it, on DPO's rewards.
    ipo: (margin - 1 / (2 beta))^2, IPO (Azar et al., arXiv 2310.12036), eq. 17, with beta for its tau.
    """
    loss: PreferenceLoss = settings.loss
    match loss:
        case "sigmoid" | "sigmoid_norm":
            return -functional.logsigmoid(margin)
        case "simpo":
            gamma = SIMPO_MARGIN if settings.margin is None else settings.margin
            return -functional.logsigmoid(margin - gamma)
        case "hinge":
            return torch.relu(1 - margin)
        case "ipo":
            return (margin - 1 / (2 * _beta(settings))).square()
        case _:
            assert_never(loss)


def reference_kl(replies: Replies) -> Tensor:
    """KL(pi_ref || pi) at each token, in nats, [pairs, tokens], 0 where masked.

    By k3 of tokens that the reference sampled: r - 1 - log r with r = pi / pi_ref, never negative, and
    without bias over all replies of the reference (Schulman, "Approximating KL Divergence", 2020), of which
    pairs are a choice. Its gradient is that of KL(pi_ref || pi), as the reference's expectation of r is 1.
    """
    difference = torch.where(replies.mask, replies.reference - replies.logprobs, 0.0)
    return kl_estimate(difference, torch.zeros_like(difference), "k3")


def _beta(settings: PreferenceObjective) -> float:
    return BETAS[settings.loss] if settings.beta is None else settings.beta
