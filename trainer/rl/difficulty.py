"""How much of an update comes from problems that are nearly solved, and from nearly hopeless ones."""

from collections.abc import Sequence

import torch

from trainer.objectives import group_advantages
from trainer.rl.groups import ScoredGroup

NEARLY = 0.25
"""The share of right, or of wrong, replies up to which a group is nearly hopeless, or nearly solved."""


def update_shares(groups: Sequence[ScoredGroup], std: bool) -> dict[str, float]:
    """Shares of the absolute advantages of the groups trained on, `sum |A| of such groups / sum |A|`.

    `update/near_solved`: of groups of which 3/4 or more are right; `update/near_hopeless`: 1/4 or fewer.
    {} where all advantages are 0.

    |A| is what multiplies a reply's score function before lengths are divided by anything. With right or
    wrong as the only reward and a share p right, sum |A| of a group of G is `2 G p (1 - p)`, and with GRPO's
    division by the group's deviation, about sqrt(p (1 - p)), it is `2 G sqrt(p (1 - p))`: groups at p near 0
    and 1 weigh more against the others. That is GRPO's question-level difficulty bias (Dr. GRPO,
    arXiv:2503.20783, section 3.1), which leaving the division out removes (section 3.2).

    std: whether advantages are divided by the group's deviation (`objective.advantage_std`).
    """
    if not groups:
        return {}
    rewards = torch.tensor([group.rewards for group in groups], dtype=torch.float64)
    mass = group_advantages(rewards, std).abs().sum(dim=1)
    total = float(mass.sum())
    if total == 0:
        return {}
    right = torch.tensor([sum(group.right) / len(group.right) for group in groups])
    return {
        "update/near_solved": float(mass[right >= 1 - NEARLY].sum()) / total,
        "update/near_hopeless": float(mass[right <= NEARLY].sum()) / total,
    }
