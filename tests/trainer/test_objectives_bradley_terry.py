"""The Bradley-Terry loss by hand, and TRL's own on the same scores."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trl import RewardTrainer

from trainer.objectives.bradley_terry import bradley_terry_loss


def test_a_pair_by_hand() -> None:
    losses = bradley_terry_loss(torch.tensor([1.0, 0.0, -2.0]), torch.tensor([0.0, 0.0, 1.0]))
    wanted = [math.log(1 + math.exp(-1)), math.log(2), math.log(1 + math.exp(3))]
    torch.testing.assert_close(losses, torch.tensor(wanted))
    centred = bradley_terry_loss(torch.tensor([1.0]), torch.tensor([2.0]), centring=0.1)
    assert float(centred) == pytest.approx(math.log(1 + math.exp(1)) + 0.1 * 9)


def test_its_gradient_is_the_probability_of_being_wrong() -> None:
    chosen = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([0.8], dtype=torch.float64, requires_grad=True)
    bradley_terry_loss(chosen, rejected).sum().backward()
    wrong = 1 / (1 + math.exp(0.3 - 0.8))
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert float(chosen.grad) == pytest.approx(-wrong)
    assert float(rejected.grad) == pytest.approx(wrong)
    assert torch.autograd.gradcheck(lambda a, b: bradley_terry_loss(a, b, 0.05), (chosen, rejected))


class Scores(nn.Module):
    """A model whose scores are known, chosen first."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, **inputs: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.scores[:, None])


@pytest.mark.parametrize("centring", [None, 0.01])
def test_it_is_trls_loss_and_gradient(centring: float | None) -> None:
    scores = 3 * torch.randn(8, generator=torch.Generator().manual_seed(0))
    ours, theirs = Scores(scores.clone()), Scores(scores.clone())
    bradley_terry_loss(*ours().logits[:, 0].chunk(2), centring or 0.0).mean().backward()
    gather = SimpleNamespace(gather_for_metrics=lambda value: value, gather=lambda value: value)
    trainer: Any = SimpleNamespace(
        model=SimpleNamespace(training=False),
        args=SimpleNamespace(center_rewards_coefficient=centring),
        accelerator=gather,
        _metrics={
            "eval": {name: [] for name in ("min_reward", "mean_reward", "max_reward", "accuracy", "margin")}
        },
        _total_train_tokens=0,
    )
    RewardTrainer.compute_loss(trainer, theirs, {}).backward()
    torch.testing.assert_close(ours.scores.grad, theirs.scores.grad, atol=1e-5, rtol=1e-5)
