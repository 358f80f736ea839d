"""The squared loss of policy mirror descent."""

from torch import Tensor


def squared_surrogate(log_ratio: Tensor, advantages: Tensor, weight: Tensor, tau: float) -> Tensor:
    """Per-token terms of Kimi k1.5's objective, to be maximised; all [rows, tokens], 0 where masked.

    With rho the sum of a rollout's log ratios, log pi(y|x) / pi_i(y|x), the terms of a rollout add up to
    A rho - (tau / 2) rho^2. Its gradient is Kimi k1.5's eq. 3, which is that of the surrogate loss above it,
    (r - mean(r) - tau rho)^2, over -2 tau. At rho = 0, before a step's first update, the second term's
    gradient is 0 and what is left is REINFORCE with the group's mean as baseline.

    log_ratio: log pi(token) - log pi_i(token), with gradients; pi_i is the policy before the step's first
    update, which sampled the rollouts. advantages: r - mean(r) of the group, the same at every token.
    weight: the engine's correction of the first term; 1 in the paper.
    """
    rho = log_ratio.sum(dim=1, keepdim=True)
    return weight * advantages * log_ratio - tau / 2 * rho * log_ratio
