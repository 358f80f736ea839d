"""Advantages of tokens by a critic: the reward of each token, generalized advantage estimation, whitening.

A step in time is a token that the policy sampled. Inserted tokens are none: they belong to the state that
follows the token before them, so a reply's next value is that of its next *sampled* token.

GAE: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", arXiv
1506.02438. KL in the reward: Ziegler et al., "Fine-Tuning Language Models from Human Preferences", arXiv
1909.08593; InstructGPT, Ouyang et al., arXiv 2203.02155.
"""

import torch
from torch import Tensor

_EPSILON = 1e-8  # keeps advantages that are all alike finite


def token_rewards(task: Tensor, mask: Tensor, penalty: Tensor | None = None) -> Tensor:
    """The reward of each token, float64 [rows, tokens]: the rollout's own comes with its last sampled token.

    r_t = -penalty_t, and + task at the last one. With penalty = beta log(pi(token) / reference(token)) their
    sum over a reply is R(x, y) of Ziegler et al., eq. 2, and the reward within InstructGPT's eq. 2.

    task: [rows]. mask: sampled tokens that train, boolean [rows, tokens]. penalty: [rows, tokens].
    """
    rewards = torch.zeros(mask.shape, dtype=torch.float64, device=mask.device)
    if penalty is not None:
        rewards = torch.where(mask, -penalty.double(), rewards)
    # The last is where no sampled token is left; rows without any have none.
    last = mask & (mask.long().flip(1).cumsum(1).flip(1) == 1)
    return rewards + last * task.double().unsqueeze(1)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """Advantages of sampled tokens, float64 [rows, tokens], 0 elsewhere.

    delta_t = r_t + gamma V(s_t+1) - V(s_t), A_t = sum over l of (gamma lam)^l delta_t+l: GAE, eq. 16. lam 0
    is eq. 17, A_t = delta_t; lam 1 is eq. 18, the discounted return less the value. Behind the last sampled
    token of a row there is nothing to come: its next value is 0, also where the row ran into max_tokens,
    which is a limit of the task and not of its observation (Pardo et al., arXiv 1712.00378, section 2).

    rewards, values: of the state before each token, [rows, tokens]. mask: the tokens that are steps in time,
    boolean [rows, tokens]; what the others hold does not matter.
    """
    advantages = torch.zeros(mask.shape, dtype=torch.float64, device=mask.device)
    later_value = torch.zeros(len(mask), dtype=torch.float64, device=mask.device)
    later_advantage = torch.zeros_like(later_value)
    for token in reversed(range(mask.shape[1])):
        sampled, value = mask[:, token], values[:, token].double()
        delta = rewards[:, token].double() + gamma * later_value - value
        advantage = delta + gamma * lam * later_advantage
        advantages[:, token] = torch.where(sampled, advantage, 0.0)
        later_value = torch.where(sampled, value, later_value)
        later_advantage = torch.where(sampled, advantage, later_advantage)
    return advantages


def moments(values: Tensor, mask: Tensor) -> Tensor:
    """Number, sum and sum of squares of the masked values, float64 [3]: those of parts add up."""
    chosen = values.double()[mask]
    return torch.stack([mask.sum().double(), chosen.sum(), chosen.square().sum()])


def mean_and_deviation(its: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (of the population, over n) of what `moments` counted, two scalars."""
    count, total, squares = its
    mean = total / count.clamp(min=1)
    return mean, (squares / count.clamp(min=1) - mean.square()).clamp(min=0).sqrt()


def whiten(values: Tensor, mask: Tensor, its: Tensor) -> Tensor:
    """(values - mean) / deviation by the moments `its`, which may be of more than these; 0 where masked."""
    mean, deviation = mean_and_deviation(its)
    return torch.where(mask, (values - mean) / (deviation + _EPSILON), 0.0)
