"""The Bradley-Terry loss of a reward model, as a pure function of its scores."""

from torch import Tensor
from torch.nn import functional


def bradley_terry_loss(chosen: Tensor, rejected: Tensor, centring: float = 0.0) -> Tensor:
    """Each pair's loss in nats: -log sigmoid(r_chosen - r_rejected) (Ouyang et al. 2022, eq. 1).

    The probability that `chosen` is preferred is sigmoid(r_chosen - r_rejected) (Bradley and Terry 1952).
    centring: weight of (r_chosen + r_rejected)^2 (Eisenstein et al. 2023, arXiv 2312.09244, eq. 2), as the
    first part leaves a constant open. chosen, rejected: scores, [pairs].
    """
    return -functional.logsigmoid(chosen - rejected) + centring * (chosen + rejected).square()
