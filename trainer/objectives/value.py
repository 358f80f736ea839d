"""What a critic is trained by, and how good it is."""

import torch
from torch import Tensor

from trainer.objectives.gae import mean_and_deviation


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, value_clip: float | None
) -> tuple[Tensor, Tensor]:
    """Squared error of each token's value, and where clipping takes its gradient away; both [rows, tokens].

    (V - V_target)^2: PPO, eq. 9. With value_clip eps the larger of it and
    (clip(V, V_old - eps, V_old + eps) - V_target)^2: Engstrom et al., "Implementation Matters in Deep Policy
    Gradients", arXiv 2005.12729, section 3. They print a minimum; the code they study, OpenAI's baselines,
    takes the maximum, which is what keeps V near V_old: V has no gradient where it has left the range
    towards the target, and always has one back.

    values: with gradients. old_values: before the step's first update. returns: V_target.
    """
    plain = (values - returns).square()
    if value_clip is None:
        return plain, torch.zeros_like(plain, dtype=torch.bool)
    change = values - old_values
    clipped = (old_values + change.clamp(-value_clip, value_clip) - returns).square()
    # Within the range both are the same but for rounding.
    return torch.maximum(plain, clipped), (change.abs() > value_clip) & (clipped > plain)


def explained_variance(returns: Tensor, errors: Tensor) -> float:
    """1 - Var(return - value) / Var(return): 1 is a perfect critic, 0 one that knows only the mean.

    Both are `moments`, of returns and of returns less values. It is 0 where returns do not vary.
    """
    _, deviation = mean_and_deviation(returns)
    _, left = mean_and_deviation(errors)
    return float(1 - left.square() / deviation.square()) if deviation > 0 else 0.0
