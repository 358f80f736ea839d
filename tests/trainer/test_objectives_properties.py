"""What must hold of the objectives for any input: gradients in expectation, sums, symmetries, masks."""

from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer.objectives import entropy, group_advantages, kl_estimate, normaliser, policy_loss
from trainer.recipe.rl import KL, Objective

LOGITS = torch.tensor([0.3, -1.1, 0.8], dtype=torch.float64)
REFERENCE = torch.tensor([-0.4, 0.9, 0.2], dtype=torch.float64).log_softmax(-1)
seeds = st.integers(0, 2**31)
shared: dict[str, Any] = {
    "normalisation": st.sampled_from(["sequence", "token", "constant", "rollout"]),
    "correction": st.sampled_from(["none", "token", "sequence"]),
    "entropy_bonus": st.sampled_from([0.0, 0.1]),
    "kl": st.builds(
        KL, estimator=st.sampled_from(["k1", "k2", "k3"]), coefficient=st.sampled_from([0.0, 0.2])
    ),
}
objectives = st.builds(
    Objective,
    ratio=st.sampled_from(["token", "sequence"]),
    clip_low=st.floats(0, 0.5),
    clip_high=st.floats(0, 0.5),
    **shared,
) | st.builds(Objective, loss=st.just("squared"), tau=st.floats(0.01, 2), **shared)
rewards = st.integers(1, 4).flatmap(
    lambda groups: st.integers(2, 6).flatmap(
        lambda samples: st.lists(
            st.lists(st.floats(-2, 2).map(lambda x: round(x, 3)), min_size=samples, max_size=samples),
            min_size=groups,
            max_size=groups,
        )
    )
)


def expected_gradient(kind: Literal["k1", "k2", "k3"]) -> tuple[float, Tensor]:
    """Value and gradient of the estimator in expectation over tokens of the policy, summed exactly."""
    logits = LOGITS.clone().requires_grad_()
    logprobs = logits.log_softmax(-1)
    probabilities = logprobs.exp().detach()  # a loss on samples has no gradient through the sampling
    estimate = (probabilities * kl_estimate(logprobs, REFERENCE, kind)).sum()
    (gradient,) = torch.autograd.grad(estimate, logits)
    return estimate.item(), gradient


def exact(direction: Literal["policy first", "reference first"]) -> tuple[float, Tensor]:
    """KL(pi || reference) or KL(reference || pi), and its gradient."""
    logits = LOGITS.clone().requires_grad_()
    logprobs = logits.log_softmax(-1)
    if direction == "policy first":
        divergence = (logprobs.exp() * (logprobs - REFERENCE)).sum()
    else:
        divergence = (REFERENCE.exp() * (REFERENCE - logprobs)).sum()
    (gradient,) = torch.autograd.grad(divergence, logits)
    return divergence.item(), gradient


def test_k1_is_unbiased_with_the_divergence_s_gradient() -> None:
    value, gradient = expected_gradient("k1")
    assert value == pytest.approx(exact("policy first")[0])
    torch.testing.assert_close(gradient, exact("policy first")[1])


def test_k2_is_biased_with_the_divergence_s_gradient() -> None:
    value, gradient = expected_gradient("k2")
    assert abs(value - exact("policy first")[0]) > 0.01
    torch.testing.assert_close(gradient, exact("policy first")[1])


def test_k3_is_unbiased_with_the_gradient_of_the_other_direction() -> None:
    value, gradient = expected_gradient("k3")
    assert value == pytest.approx(exact("policy first")[0])
    torch.testing.assert_close(gradient, exact("reference first")[1])
    assert (gradient - exact("policy first")[1]).abs().max() > 0.01


def test_kl_estimates_of_one_policy_are_zero() -> None:
    for kind in ("k1", "k2", "k3"):
        assert not kl_estimate(REFERENCE, REFERENCE, kind).any()


def test_on_policy_gradient_is_the_reward_s() -> None:
    """In expectation over tokens of the policy, the loss's gradient is minus that of the expected reward."""
    reward = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)
    logits = LOGITS.clone().requires_grad_()
    logprobs = logits.log_softmax(-1)
    probabilities = logprobs.exp().detach()
    baseline = (probabilities * reward).sum()
    total = torch.zeros((), dtype=torch.float64)
    for token in range(3):
        chosen = logprobs[token].view(1, 1)
        old = chosen.detach()
        mask = torch.ones(1, 1, dtype=torch.bool)
        advantage = (reward[token] - baseline).view(1)
        loss, _ = policy_loss(chosen, old, old, advantage, mask, None, Objective(), 1.0)
        total = total + probabilities[token] * loss
    (gradient,) = torch.autograd.grad(total, logits)
    (reward_gradient,) = torch.autograd.grad((logits.softmax(-1) * reward).sum(), logits)
    torch.testing.assert_close(gradient, -reward_gradient)


def test_token_correction_makes_an_engine_s_samples_the_trainer_s() -> None:
    """Samples of another policy, weighted by the ratio, give in expectation the gradient of one's own."""
    engine = REFERENCE
    advantages = torch.tensor([0.5, -1.0, 0.25], dtype=torch.float64)

    def gradient(sampler: Tensor, correction: str) -> Tensor:
        logits = LOGITS.clone().requires_grad_()
        logprobs = logits.log_softmax(-1)
        settings = Objective(correction=correction, correction_cap=100.0, normalisation="token")
        losses = [
            policy_loss(
                logprobs[token].view(1, 1),
                logprobs[token].detach().view(1, 1),
                sampler[token].view(1, 1),
                advantages[token].view(1),
                torch.ones(1, 1, dtype=torch.bool),
                None,
                settings,
                1.0,
            )[0]
            for token in range(3)
        ]
        (result,) = torch.autograd.grad((sampler.exp() * torch.stack(losses)).sum(), logits)
        return result

    own = gradient(LOGITS.log_softmax(-1), "none")
    torch.testing.assert_close(gradient(engine, "token"), own)
    assert (gradient(engine, "none") - own).abs().max() > 0.01


@given(rewards, st.booleans(), st.floats(-3, 3))
def test_advantages_sum_to_zero_and_ignore_a_shift(
    values: list[list[float]], std: bool, shift: float
) -> None:
    tensor = torch.tensor(values, dtype=torch.float64)
    advantages = group_advantages(tensor, std)
    torch.testing.assert_close(advantages.sum(dim=1), torch.zeros(len(values)).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(group_advantages(tensor + shift, std), advantages, atol=1e-8, rtol=1e-8)


@given(rewards, st.floats(0.5, 4))
def test_advantages_with_std_ignore_a_scale_but_for_rounding(values: list[list[float]], scale: float) -> None:
    tensor = torch.tensor(values, dtype=torch.float64).round(decimals=1)  # deviations well above epsilon
    torch.testing.assert_close(
        group_advantages(tensor * scale, True), group_advantages(tensor, True), atol=1e-12, rtol=1e-2
    )


def batch(seed: int, rows: int = 5, tokens: int = 6) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def normal() -> Tensor:
        return torch.randn(rows, tokens, generator=generator, dtype=torch.float64) * 0.3 - 1

    mask = torch.rand(rows, tokens, generator=generator) < 0.7
    mask[0] = False  # a masked rollout
    return {
        "logprobs": normal(),
        "old": normal(),
        "rollout": normal(),
        "reference": normal(),
        "logits": torch.randn(rows, tokens, 4, generator=generator, dtype=torch.float64),
        "advantages": torch.randn(rows, generator=generator, dtype=torch.float64),
        "mask": mask,
    }


def loss_and_gradient(
    data: dict[str, Any], objective: Objective, count: float, rows: slice = slice(None)
) -> tuple[float, Tensor]:
    logprobs = data["logprobs"][rows].clone().requires_grad_()
    loss, _ = policy_loss(
        logprobs,
        logprobs if data["old"] is None else data["old"][rows],
        data["rollout"][rows],
        data["advantages"][rows],
        data["mask"][rows],
        data["reference"][rows],
        objective,
        count,
        entropy(data["logits"][rows]).double(),
    )
    loss.backward()
    assert logprobs.grad is not None
    return loss.item(), logprobs.grad


def whole(data: dict[str, Any], objective: Objective) -> float:
    return normaliser(data["mask"].sum(dim=1), objective.normalisation, 6)


@given(seeds, objectives, st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_micro_batches_add_up(seed: int, objective: Objective, cut: int) -> None:
    data = batch(seed)
    count = whole(data, objective)
    loss, gradient = loss_and_gradient(data, objective, count)
    first = loss_and_gradient(data, objective, count, slice(0, cut))
    second = loss_and_gradient(data, objective, count, slice(cut, None))
    assert first[0] + second[0] == pytest.approx(loss, rel=1e-9, abs=1e-9)
    torch.testing.assert_close(torch.cat([first[1], second[1]]), gradient)


@given(seeds, objectives, st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e4, 0.0]))
@settings(max_examples=60, deadline=None)
def test_masked_tokens_change_nothing_and_have_no_gradient(
    seed: int, objective: Objective, junk: float
) -> None:
    data = batch(seed)
    count = whole(data, objective)
    clean = loss_and_gradient(data, objective, count)
    spoilt = dict(data)
    for name in ("logprobs", "old", "rollout", "reference"):
        spoilt[name] = torch.where(data["mask"], data[name], junk)
    loss, gradient = loss_and_gradient(spoilt, objective, count)
    assert loss == clean[0]
    assert torch.equal(gradient, clean[1])
    assert not gradient[~data["mask"]].any()


@given(seeds, objectives)
@settings(max_examples=30, deadline=None)
def test_normalisations_agree_on_rollouts_of_one_length(seed: int, objective: Objective) -> None:
    data = batch(seed)
    data["mask"] = torch.ones_like(data["mask"])
    losses = []
    for kind in ("sequence", "token", "constant"):
        same = objective.model_copy(update={"normalisation": kind})
        losses.append(loss_and_gradient(data, same, whole(data, same))[0])
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-9, abs=1e-9)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_first_update_s_gradient_does_not_depend_on_the_clip_or_the_level(seed: int) -> None:
    """Where the policy is still the old one, PPO, GRPO and GSPO are one: minus the advantage, normalised."""
    data = batch(seed) | {"old": None}
    gradients = []
    for level, bound in (("token", 0.2), ("token", 0.9), ("sequence", 0.0003)):
        objective = Objective(
            normalisation="sequence", ratio=level, clip_low=bound, clip_high=bound, correction="none"
        )
        gradients.append(loss_and_gradient(data, objective, 5.0)[1])
    lengths = data["mask"].sum(dim=1, keepdim=True).clamp(min=1)
    expected = torch.where(data["mask"], -data["advantages"].unsqueeze(1) / lengths / 5, 0.0)
    for gradient in gradients:
        torch.testing.assert_close(gradient, expected)
