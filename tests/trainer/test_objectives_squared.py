"""Kimi k1.5's squared loss: by hand, by finite differences, and against what its paper derives it from."""

import math
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from pydantic import ValidationError
from torch import Tensor

from tests.trainer.test_rl_update import micro_model, minibatches, rows
from trainer.objectives import group_advantages, normaliser, policy_loss
from trainer.optimizers import build_optimizer
from trainer.recipe.model import Optimizer
from trainer.recipe.rl import Objective
from trainer.rl.update import PolicyUpdate

NAN = float("nan")
TAU = 0.2
# Ratios to the old policy: 3/2 and 1/2, then 2, 1 and 2; padding holds values that would be noticed.
RATIOS = torch.tensor([[1.5, 0.5, NAN, NAN], [2.0, 1.0, 2.0, NAN]])
MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]], dtype=torch.bool)
ADVANTAGES = torch.tensor([0.75, -0.25])
RHO = (math.log(0.75), math.log(4))


def settings(**members: Any) -> Objective:
    return Objective(
        **{"loss": "squared", "tau": TAU, "normalisation": "rollout", "correction": "none", **members}
    )


def run(objective: Objective, rollout: Tensor | None = None) -> tuple[float, dict[str, float], Tensor]:
    """Loss, metrics and gradient of the example."""
    old = torch.full_like(RATIOS, -1.0)
    logprobs = (RATIOS.log() + old).requires_grad_()
    count = normaliser(MASK.sum(1), objective.normalisation, 10)
    loss, stats = policy_loss(
        logprobs, old, old if rollout is None else rollout, ADVANTAGES, MASK, None, objective, count
    )
    loss.backward()
    assert logprobs.grad is not None
    return loss.item(), stats.metrics(), logprobs.grad


def test_by_hand() -> None:
    loss, metrics, gradient = run(settings())
    first = 0.75 * RHO[0] - TAU / 2 * RHO[0] ** 2
    second = -0.25 * RHO[1] - TAU / 2 * RHO[1] ** 2
    assert loss == pytest.approx(-(first + second) / 2)
    # Equation 3: every token of a rollout has the gradient A - tau rho; over two rollouts.
    each = [-(0.75 - TAU * RHO[0]) / 2, -(-0.25 - TAU * RHO[1]) / 2]
    torch.testing.assert_close(gradient, torch.tensor([[each[0]] * 2 + [0] * 2, [each[1]] * 3 + [0]]))
    assert metrics["ratio/log_square"] == pytest.approx((2 * RHO[0] ** 2 + 3 * RHO[1] ** 2) / 5)
    assert "clip/share" not in metrics


def test_the_engine_s_correction_is_of_the_reward_s_term_only() -> None:
    weights = torch.tensor([[3.0, 0.5, NAN, NAN], [0.5, 1.0, 1.0, NAN]])
    rollout = -1.0 - weights.log()
    gradient = run(settings(correction="token"), rollout)[2]
    first = [-(w * 0.75 - TAU * RHO[0]) / 2 for w in (2.0, 0.5)]  # 3 is capped at 2
    second = [-(w * -0.25 - TAU * RHO[1]) / 2 for w in (0.5, 1.0, 1.0)]
    torch.testing.assert_close(gradient[MASK], torch.tensor(first + second))
    whole = run(settings(correction="sequence"), rollout)[2]
    torch.testing.assert_close(whole[0, :2], torch.full((2,), -(1.5 * 0.75 - TAU * RHO[0]) / 2))


class Toy:
    """A policy over two tokens at each of two places, and two replies to one prompt with their rewards."""

    replies = torch.tensor([[0, 1], [1, 1]])
    rewards = torch.tensor([[1.0, 0.3]], dtype=torch.float64)
    old = torch.tensor([[0.2, -0.4], [0.9, 0.1]], dtype=torch.float64).log_softmax(-1)

    def log_ratio(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Of each reply's tokens under `logits` and under the old policy."""
        places = torch.arange(2)
        return logits.log_softmax(-1)[places, self.replies], self.old[places, self.replies]

    def loss(self, logits: Tensor) -> Tensor:
        logprobs, old = self.log_ratio(logits)
        advantages = group_advantages(self.rewards, std=False).view(-1)
        mask = torch.ones(2, 2, dtype=torch.bool)
        return policy_loss(logprobs, old, old, advantages, mask, None, settings(), 2.0)[0]


def test_gradient_by_finite_differences() -> None:
    logits = torch.tensor([[-0.5, 0.3], [0.7, -1.2]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Toy().loss, (logits,))


def test_gradient_is_that_of_the_squared_loss_it_is_named_for() -> None:
    toy = Toy()
    logits = torch.tensor([[-0.5, 0.3], [0.7, -1.2]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(toy.loss(logits), logits)
    logprobs, old = toy.log_ratio(logits)
    centred = toy.rewards.view(-1) - toy.rewards.mean()
    squared = (centred - TAU * (logprobs - old).sum(1)).square().mean()
    (expected,) = torch.autograd.grad(squared, logits)
    torch.testing.assert_close(gradient, expected / (2 * TAU))


def test_the_minimum_is_the_regularised_problem_s_solution() -> None:
    """Equation 2 is solved by pi_i exp(r / tau) / Z; with the mean in log Z's place, up to 1 / tau^2."""
    old = torch.tensor([0.3, -1.1, 0.8], dtype=torch.float64).log_softmax(-1)
    rewards = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)
    mean = (old.exp() * rewards).sum()
    gaps = []
    for tau in (5.0, 10.0):
        logits = old.clone().requires_grad_()
        search = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

        def closure(tau: float = tau, logits: Tensor = logits, search: Any = search) -> Tensor:
            search.zero_grad()
            logprobs = logits.log_softmax(-1).view(3, 1)
            mask = torch.ones(3, 1, dtype=torch.bool)
            loss = sum(
                old[token].exp()
                * policy_loss(
                    logprobs[token : token + 1],
                    old[token].view(1, 1),
                    old[token].view(1, 1),
                    (rewards[token] - mean).view(1),
                    mask[:1],
                    None,
                    settings(tau=tau),
                    1.0,
                )[0]
                for token in range(3)
            )
            assert isinstance(loss, Tensor)
            loss.backward()
            return loss

        search.step(closure)
        solution = (old + rewards / tau).log_softmax(-1)
        gap = float((logits.detach().log_softmax(-1) - solution).abs().max())
        assert gap < 0.3 * float((old - solution).abs().max())
        gaps.append(gap)
    assert gaps[1] < gaps[0] / 3


def trained(objective: Objective, times: int = 1, muon: bool = False) -> tuple[Tensor, list[float]]:
    """All weights after `times` iterations on the same rollouts, and the optimizers' counts of updates."""
    model = micro_model()
    rate = Optimizer(adamw_lr=1e-2, muon_lr=1e-2 if muon else None, max_grad_norm=100.0)
    accelerator = Accelerator(cpu=True)
    optimizer = accelerator.prepare(build_optimizer(model, rate))
    update = PolicyUpdate(model, None, optimizer, accelerator, objective, rate, 1.0)
    for _ in range(times):
        update.run(minibatches(rows(12), objective))
    counts = [float(state["step"]) for state in _states(optimizer.optimizer) if "step" in state]
    return torch.cat([weights.detach().flatten() for weights in model.parameters()]), counts


def _states(optimizer: Any) -> list[dict[str, Any]]:
    parts = (optimizer.muon, optimizer.adamw) if hasattr(optimizer, "muon") else (optimizer,)
    return [state for part in parts for state in part.state.values()]


def test_the_first_on_policy_update_has_no_quadratic_term() -> None:
    weak, strong = trained(settings(tau=1e-6))[0], trained(settings(tau=1e3))[0]
    assert torch.equal(weak, strong)
    several = [trained(settings(tau=tau, epochs=2))[0] for tau in (1e-6, 1e3)]
    assert not torch.equal(*several)


def test_rollouts_without_an_advantage_are_drawn_back_too() -> None:
    """With several updates their quadratic term has a gradient, so they are not left out."""
    idle = sum(row.advantage == 0 for row in rows(12))
    assert idle > 0
    for objective, expected in (
        (settings(), 12 - idle),
        (settings(epochs=2), 12),
        (settings(minibatches=2), 12),
    ):
        packed = minibatches(rows(12), objective)
        assert sum(len(batch.mask) for part in packed for batch in part.micro_batches) == expected


@pytest.mark.parametrize("muon", [False, True])
def test_the_optimizer_forgets_between_iterations(muon: bool) -> None:
    weights, counts = trained(settings(epochs=2), 2, muon)
    assert set(counts) == {4.0}
    others, counts = trained(settings(epochs=2, reset_optimizer=True), 2, muon)
    assert set(counts) == {2.0}
    assert not torch.equal(weights, others)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"loss": "squared"}, "tau: is missing, and loss 'squared' needs it"),
        ({"tau": 0.1}, "tau: 0.1 is wrong because loss 'clipped' has no quadratic term"),
        ({"loss": "squared", "tau": 1, "clip_high": 0.3}, "clip_high: 0.3 is wrong because loss 'squared'"),
        ({"loss": "squared", "tau": 1, "clip_low": 0.1}, "clip_low: 0.1 is wrong because loss 'squared'"),
        ({"loss": "squared", "tau": 1, "ratio": "sequence"}, "ratio: 'sequence' is wrong because loss"),
    ],
)
def test_options_that_cannot_matter_are_refused(members: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Objective.model_validate(members)
