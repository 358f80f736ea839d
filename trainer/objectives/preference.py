"""Losses of pairs of replies, of which one is preferred to the other."""

from dataclasses import dataclass
from typing import Literal, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from trainer.objectives.kl import kl_estimate

PreferenceLoss = Literal["sigmoid", "sigmoid_norm", "ipo", "hinge", "simpo"]


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


def reply_reward(replies: Replies, loss: PreferenceLoss, beta: float) -> Tensor:
    """What a loss takes for the reward of a reply, [pairs].

    sigmoid, hinge: beta log(pi / pi_ref), DPO (Rafailov et al., arXiv 2305.18290), eq. 5, no constant.
    sigmoid_norm: that over the reply's length, as Tulu 3 (arXiv 2411.15124) has it.
    simpo: beta / |y| log pi(y|x), SimPO (Meng et al., arXiv 2405.14734), eq. 4.
    ipo: log(pi / pi_ref) over the reply's length; the paper has no length, its authors' code has.
    """
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


def preference_loss(margin: Tensor, loss: PreferenceLoss, beta: float, gamma: float = 0.0) -> Tensor:
    """The loss of each pair, [pairs], from the chosen replies' rewards less the rejected ones'.

    sigmoid, sigmoid_norm: -log sigma(margin), DPO, eq. 7.
    simpo: -log sigma(margin - gamma), SimPO, eq. 6.
    hinge: max(0, 1 - margin), as SLiC-HF (Zhao et al., arXiv 2305.10425) has it, on DPO's rewards.
    ipo: (margin - 1 / (2 beta))^2, IPO (Azar et al., arXiv 2310.12036), eq. 17, with beta for its tau.
    """
    match loss:
        case "sigmoid" | "sigmoid_norm":
            return -functional.logsigmoid(margin)
        case "simpo":
            return -functional.logsigmoid(margin - gamma)
        case "hinge":
            return torch.relu(1 - margin)
        case "ipo":
            return (margin - 1 / (2 * beta)).square()
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
