"""Advantages of rollouts within their prompt group."""

import torch
from torch import Tensor

_EPSILON = 1e-4  # TRL's; the papers print none
_EQUAL = 1e-6  # rewards closer than this differ by rounding only


def group_advantages(rewards: Tensor, std: bool) -> Tensor:
    """Rewards less their group's mean; [groups, samples] to [groups, samples].

    std False: A = r - mean(r), Dr. GRPO, section 3.2 (3.1 shows the bias that the division brings).
    std True: A = (r - mean(r)) / std(r), GRPO: DeepSeekMath, section 4.1.2; the deviation is the sample's
    (n - 1), with 1e-4 added to it. Groups whose rewards are all equal get exactly 0.
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    if std:
        centred = centred / (rewards.std(dim=1, keepdim=True) + _EPSILON)
    return torch.where(zero_variance(rewards).unsqueeze(1), torch.zeros_like(centred), centred)


def zero_variance(rewards: Tensor) -> Tensor:
    """Which groups have equal rewards, and so no gradient; [groups, samples] to a boolean [groups].

    DAPO's dynamic sampling (section 3.2, eq. 11) replaces them.
    """
    return rewards.amax(dim=1) - rewards.amin(dim=1) <= _EQUAL
