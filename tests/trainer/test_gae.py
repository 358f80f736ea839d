"""Advantages by a critic: hand-computed cases, inserted tokens, and what they are equal to."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainer.objectives import group_advantages, policy_loss
from trainer.objectives.gae import gae, mean_and_deviation, moments, token_rewards, whiten
from trainer.objectives.value import explained_variance, value_loss
from trainer.recipe.rl import Objective

PLAIN = Objective(normalisation="token", correction="none")
MASK = torch.tensor([[True, True, False, True], [True, False, False, False], [False] * 4])


def table(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_the_reward_comes_with_the_last_sampled_token() -> None:
    task = torch.tensor([1.0, 0.5, 7.0])
    expected = table((0, 0, 0, 1), (0.5, 0, 0, 0), (0, 0, 0, 0))
    assert torch.equal(token_rewards(task, MASK), expected)
    penalty = torch.tensor([[0.25, -0.5, 9.0, 0.125], [1.0, 9.0, 9.0, 9.0], [9.0] * 4])
    expected = table((-0.25, 0.5, 0, 0.875), (-0.5, 0, 0, 0), (0, 0, 0, 0))
    assert torch.equal(token_rewards(task, MASK, penalty), expected)


def test_gae_by_hand_steps_over_inserted_tokens() -> None:
    """delta = (0.04, 0.03, 0.3): 0.9 * 0.6 - 0.5, 0.9 * 0.7 - 0.6, 1 - 0.7; and gamma lam = 0.72."""
    nothing = float("nan")
    rewards, values = table((0, 0, nothing, 1)), table((0.5, 0.6, nothing, 0.7))
    advantages = gae(rewards, values, MASK[:1], 0.9, 0.8)
    expected = table((0.04 + 0.72 * (0.03 + 0.72 * 0.3), 0.03 + 0.72 * 0.3, 0, 0.3))
    torch.testing.assert_close(advantages, expected, atol=1e-12, rtol=0)
    # Eq. 17 and 18.
    torch.testing.assert_close(gae(rewards, values, MASK[:1], 0.9, 0.0), table((0.04, 0.03, 0, 0.3)))
    returns = table((0.81 - 0.5, 0.9 - 0.6, 0, 1 - 0.7))
    torch.testing.assert_close(gae(rewards, values, MASK[:1], 0.9, 1.0), returns)


@given(st.integers(0, 10**6), st.integers(1, 12), st.floats(0.1, 1), st.floats(0, 1))
def test_gae_is_the_sum_of_its_definition(seed: int, tokens: int, gamma: float, lam: float) -> None:
    """Eq. 16 summed as it is written, over the sampled tokens alone."""
    generator = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, 1, tokens, generator=generator, dtype=torch.float64)
    mask = torch.rand(1, tokens, generator=generator) < 0.6
    places = mask[0].nonzero().flatten().tolist()
    rewards_at = [float(rewards[0, place]) for place in places]
    values_at = [float(values[0, place]) for place in places] + [0.0]
    deltas = [rewards_at[t] + gamma * values_at[t + 1] - values_at[t] for t in range(len(places))]
    expected = torch.zeros(1, tokens, dtype=torch.float64)
    for t, place in enumerate(places):
        expected[0, place] = sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, len(places)))
    torch.testing.assert_close(gae(rewards, values, mask, gamma, lam), expected)


def test_moments_of_parts_add_up_to_white_advantages() -> None:
    values, mask = table((1.0, 2.0, 99.0), (6.0, 99.0, 3.0)), torch.tensor([[1, 1, 0], [1, 0, 1]]).bool()
    its = moments(values[:1], mask[:1]) + moments(values[1:], mask[1:])
    mean, deviation = mean_and_deviation(its)
    assert (float(mean), float(deviation)) == (3.0, pytest.approx(3.5**0.5))  # squares of -2, -1, 3, 0
    white = whiten(values, mask, its)
    torch.testing.assert_close(white * deviation, table((-2, -1, 0), (3, 0, 0)), atol=1e-6, rtol=0)
    alike = torch.full((2, 3), 0.5)
    assert not whiten(alike, mask, moments(alike, mask)).any()


def test_value_loss_by_hand() -> None:
    """Old values 0.5, range 0.2: inside; gone too far towards the target; gone away from it."""
    values = torch.tensor([[0.6, 0.9, 0.1]], dtype=torch.float64, requires_grad=True)
    old, returns = table((0.5, 0.5, 0.5)), table((1.0, 1.0, 1.0))
    loss, clipped = value_loss(values, old, returns, 0.2)
    torch.testing.assert_close(loss, table((0.16, 0.09, 0.81)))
    assert clipped.tolist() == [[False, True, False]]
    (gradient,) = torch.autograd.grad(loss.sum(), values)
    torch.testing.assert_close(gradient, table((-0.8, 0.0, -1.8)))
    loss, clipped = value_loss(values, old, returns, None)
    torch.testing.assert_close(loss, table((0.16, 0.01, 0.81)))
    assert not clipped.any()


def test_explained_variance_by_hand() -> None:
    returns, mask = table((0.0, 1.0, 0.0, 1.0)), torch.ones(1, 4, dtype=torch.bool)

    def of(values: Tensor) -> float:
        return explained_variance(moments(returns, mask), moments(returns - values, mask))

    assert of(returns) == 1
    # A constant error is not held against a critic; half of the way leaves a quarter of the variance.
    assert of(returns + 3) == pytest.approx(1)
    assert of(returns / 2) == pytest.approx(0.75)
    assert of(torch.zeros_like(returns)) == 0
    assert of(1 - returns) == pytest.approx(-3)
    assert explained_variance(moments(returns * 0, mask), moments(returns, mask)) == 0


# A policy of two tokens for replies of two: logits of the first, and of the second behind each first.
LOGITS = torch.tensor([[0.3, -0.2], [0.1, 0.5], [-0.4, 0.2]], dtype=torch.float64)
REFERENCE = torch.tensor([[0.0, 0.4], [-0.3, 0.1], [0.2, 0.0]], dtype=torch.float64)
REPLIES = torch.tensor(list(itertools.product((0, 1), repeat=2)))
REWARDS = torch.tensor([0.2, 1.0, -0.5, 0.7], dtype=torch.float64)
VALUES = torch.tensor([0.35, -0.15, 0.6], dtype=torch.float64)
"""Of the state before the first token, and of those behind each first."""
BOTH = torch.ones(4, 2, dtype=torch.bool)


def logprobs_of(logits: Tensor) -> Tensor:
    """Log-probabilities of the tokens of all four replies, [4, 2]."""
    all_of_them = logits.log_softmax(-1)
    first, second = REPLIES.T
    return torch.stack([all_of_them[0, first], all_of_them[1 + first, second]], dim=1)


def values_of(values: Tensor) -> Tensor:
    return torch.stack([values[0].expand(4), values[1 + REPLIES[:, 0]]], dim=1)


def gradient_of_the_policy(advantages: Tensor, settings: Objective = PLAIN) -> Tensor:
    """Of the clipped objective in its first step, over the four replies once each."""
    logits = LOGITS.clone().requires_grad_()
    logprobs = logprobs_of(logits)
    loss, _ = policy_loss(logprobs, logprobs, logprobs.detach(), advantages, BOTH, None, settings, 1.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    return -gradient


def test_gamma_and_lambda_of_1_are_a_baselined_policy_gradient() -> None:
    """The gradient is that of sum over tokens of (R - V(s_t)) log pi(a_t | s_t), exactly."""
    advantages = gae(token_rewards(REWARDS, BOTH), values_of(VALUES), BOTH, 1.0, 1.0)
    logits = LOGITS.clone().requires_grad_()
    baselined = ((REWARDS.unsqueeze(1) - values_of(VALUES)) * logprobs_of(logits)).sum()
    (expected,) = torch.autograd.grad(baselined, logits)
    torch.testing.assert_close(gradient_of_the_policy(advantages), expected, atol=1e-14, rtol=0)
    # With the group's mean for a critic it is Dr. GRPO.
    mean = REWARDS.mean().expand(4, 2)
    advantages = gae(token_rewards(REWARDS, BOTH), mean, BOTH, 1.0, 1.0)
    grouped = gradient_of_the_policy(group_advantages(REWARDS[None], std=False)[0])
    torch.testing.assert_close(gradient_of_the_policy(advantages), grouped, atol=1e-14, rtol=0)


def test_the_kl_in_the_reward_has_the_gradient_of_the_divergence() -> None:
    """Summed over all replies, PPO climbs E[reward] - beta KL(pi || reference), whatever the critic says."""
    beta, old = 0.3, logprobs_of(LOGITS)
    penalty = beta * (old - logprobs_of(REFERENCE))
    advantages = gae(token_rewards(REWARDS, BOTH, penalty), values_of(VALUES), BOTH, 1.0, 1.0)
    weighted = advantages * old.sum(1, keepdim=True).exp()
    logits = LOGITS.clone().requires_grad_()
    reply = logprobs_of(logits).sum(1)
    aim = (reply.exp() * (REWARDS - beta * (reply - logprobs_of(REFERENCE).sum(1)))).sum()
    (expected,) = torch.autograd.grad(aim, logits)
    torch.testing.assert_close(gradient_of_the_policy(weighted), expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize("value_clip", [None, 0.2])
def test_gradients_are_finite_differences(value_clip: float | None) -> None:
    """Of the clipped objective and the value loss together, with ratios and values inside and outside."""
    old = logprobs_of(LOGITS) + table((0.4, 0.0), (0.0, -0.5), (-0.3, 0.0), (0.05, 0.35))
    before = values_of(VALUES) + table((0.5, 0.0), (-0.4, 0.1), (0.0, 0.6), (-0.5, -0.3))
    rewards = token_rewards(REWARDS, BOTH)
    advantages, returns = (gae(rewards, before, BOTH, 0.9, 0.8) + extra for extra in (0.0, before))

    def loss(logits: Tensor, values: Tensor) -> Tensor:
        policy, stats = policy_loss(logprobs_of(logits), old, old, advantages, BOTH, None, PLAIN, 8.0)
        assert 0 < stats.metrics()["clip/share"] < 1
        errors, clipped = value_loss(values_of(values), before, returns, value_clip)
        assert (value_clip is None) == (not clipped.any())
        return policy + 0.1 * errors.sum() / 8

    inputs = (LOGITS.clone().requires_grad_(), VALUES.clone().requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)
