"""The policy loss and its parts against numbers worked out by hand.

Two rollouts. The first has advantage 1 and ratios 3/2 and 1/2; the second advantage -1 and ratios 3/2, 1/2
and 1. With both bounds at 0.2 the surrogates min(r A, clip(r) A) are 1.2 and 0.5, sum 1.7, and -1.5, -0.8
and -1, sum -3.3. Padding holds values that would be noticed.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from trainer.objectives import PolicyStats, entropy, group_advantages, loss_mask, normaliser, policy_loss
from trainer.objectives.advantages import zero_variance
from trainer.recipe.rl import KL, Objective

NAN = float("nan")
RATIOS = torch.tensor([[1.5, 0.5, NAN, NAN], [1.5, 0.5, 1.0, NAN]])
MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]], dtype=torch.bool)
ADVANTAGES = torch.tensor([1.0, -1.0])
COUNTS = torch.tensor([2, 3])
MAX_TOKENS = 4


def run(
    settings: dict[str, Any], old: float | Tensor = -1.0, rollout: Tensor | None = None, **more: Tensor
) -> tuple[float, dict[str, float], Tensor]:
    """Loss, metrics and gradient of the example, without an engine's correction unless asked for."""
    objective = Objective(**{"correction": "none", **settings})
    old_logprobs = torch.full_like(RATIOS, -1.0) if isinstance(old, float) else old
    logprobs = (RATIOS.log() + old_logprobs).requires_grad_()
    loss, stats = policy_loss(
        logprobs,
        old_logprobs,
        old_logprobs if rollout is None else rollout,
        ADVANTAGES,
        MASK,
        more.get("reference"),
        objective,
        normaliser(COUNTS, objective.normalisation, MAX_TOKENS),
        more.get("entropies"),
    )
    loss.backward()
    assert logprobs.grad is not None
    return loss.item(), stats.metrics(), logprobs.grad


def test_sequence_mean() -> None:
    assert run({"normalisation": "sequence"})[0] == pytest.approx(-(1.7 / 2 - 3.3 / 3) / 2)  # 0.125


def test_token_mean() -> None:
    assert run({"normalisation": "token"})[0] == pytest.approx(-(1.7 - 3.3) / 5)  # 0.32


def test_constant() -> None:
    assert run({"normalisation": "constant"})[0] == pytest.approx(-(1.7 - 3.3) / (2 * 4))  # 0.2


def test_clip_higher_lets_a_good_token_rise_further() -> None:
    loss, metrics, _ = run({"normalisation": "token", "clip_high": 0.6})
    assert loss == pytest.approx(-(1.5 + 0.5 - 3.3) / 5)
    assert (metrics["clip/low"], metrics["clip/high"]) == (pytest.approx(1 / 5), 0)


def test_clipped_tokens_have_no_gradient_and_others_that_of_their_ratio() -> None:
    _, metrics, gradient = run({"normalisation": "token"})
    # d(r A)/d(log pi) = r A; the first token is above its bound, and the fourth below.
    expected = -torch.tensor([[0.0, 0.5, 0.0, 0.0], [-1.5, 0.0, -1.0, 0.0]]) / 5
    torch.testing.assert_close(gradient, expected)
    assert metrics["clip/low"] == pytest.approx(1 / 5)
    assert metrics["clip/high"] == pytest.approx(1 / 5)
    assert metrics["clip/share"] == pytest.approx(2 / 5)
    assert metrics["ratio/mean"] == pytest.approx((1.5 + 0.5 + 1.5 + 0.5 + 1) / 5)
    assert metrics["ratio/max"] == 1.5


def test_sequence_ratio() -> None:
    loss, metrics, gradient = run(
        {"normalisation": "sequence", "ratio": "sequence", "clip_low": 0.2, "clip_high": 0.2}
    )
    # Geometric means: 0.75^(1/2) = 0.866 and 0.75^(1/3) = 0.9086, both inside the bounds.
    first, second = 0.75 ** (1 / 2), 0.75 ** (1 / 3)
    assert loss == pytest.approx(-(first - second) / 2)
    # Each token of a rollout has the same gradient, s A / length.
    expected = -torch.tensor([[first / 2] * 2 + [0] * 2, [-second / 3] * 3 + [0]]) / 2
    torch.testing.assert_close(gradient, expected)
    assert metrics["clip/share"] == 0


def test_sequence_ratio_clips_whole_rollouts() -> None:
    loss, metrics, gradient = run(
        {"normalisation": "sequence", "ratio": "sequence", "clip_low": 0.0003, "clip_high": 0.0004}
    )
    assert loss == pytest.approx(-(0.75 ** (1 / 2) - 0.9997) / 2)
    assert not gradient[1].any()
    assert metrics["clip/low"] == pytest.approx(3 / 5)


def test_token_correction_is_truncated() -> None:
    # The trainer's old policy over the engine's: 3 and 1/2, then 1/2, 1 and 4; capped at 2.
    weights = torch.tensor([[3.0, 0.5, NAN, 7.0], [0.5, 1.0, 4.0, 7.0]])
    rollout = -1.0 - weights.log()
    loss, metrics, _ = run({"normalisation": "token", "correction": "token"}, rollout=rollout)
    assert loss == pytest.approx(-(2 * 1.2 + 0.5 * 0.5 - 0.5 * 1.5 - 1 * 0.8 - 2 * 1.0) / 5)
    assert metrics["mismatch/capped"] == pytest.approx(2 / 5)
    assert metrics["mismatch/max"] == pytest.approx(math.log(4))
    # k3 of each token: w - 1 - log w.
    expected = sum(weight - 1 - math.log(weight) for weight in (3, 0.5, 0.5, 1, 4)) / 5
    assert metrics["mismatch/kl"] == pytest.approx(expected)


def test_sequence_correction_is_one_weight_for_a_rollout() -> None:
    weights = torch.tensor([[3.0, 0.5, NAN, NAN], [0.5, 1.0, 1.0, NAN]])
    loss, _, _ = run({"normalisation": "token", "correction": "sequence"}, rollout=-1.0 - weights.log())
    assert loss == pytest.approx(-(1.5 * 1.7 - 0.5 * 3.3) / 5)
    capped, _, _ = run(
        {"normalisation": "token", "correction": "sequence", "correction_cap": 1.2},
        rollout=-1.0 - weights.log(),
    )
    assert capped == pytest.approx(-(1.2 * 1.7 - 0.5 * 3.3) / 5)


@pytest.mark.parametrize(
    ("estimator", "value"),
    # log(reference / pi) is log 2 at each token.
    [("k1", -math.log(2)), ("k2", math.log(2) ** 2 / 2), ("k3", 2 - 1 - math.log(2))],
)
def test_kl_is_added_uncorrected(estimator: str, value: float) -> None:
    kl = KL(estimator=estimator, coefficient=0.5)
    reference = (RATIOS.log() - 1.0) + math.log(2)
    rollout = torch.full_like(RATIOS, -1.0 - math.log(2))
    loss, metrics, _ = run(
        {"normalisation": "sequence", "kl": kl, "correction": "token", "correction_cap": 10.0},
        rollout=rollout,
        reference=reference,
    )
    assert loss == pytest.approx(2 * 0.125 + 0.5 * value)
    assert metrics["kl"] == pytest.approx(value)


def test_entropy_bonus_is_a_term_of_each_token() -> None:
    entropies = torch.tensor([[0.5, 1.5, NAN, NAN], [1.0, 2.0, 3.0, NAN]])
    loss, metrics, _ = run({"normalisation": "sequence", "entropy_bonus": 0.1}, entropies=entropies)
    assert loss == pytest.approx(0.125 - 0.1 * (2 / 2 + 6 / 3) / 2)
    assert metrics["entropy"] == pytest.approx(8 / 5)


def test_what_a_term_needs_must_be_given() -> None:
    with pytest.raises(ValueError, match="reference_logprobs"):
        run({"kl": KL(coefficient=0.1)})
    with pytest.raises(ValueError, match="entropies"):
        run({"entropy_bonus": 0.1})
    with pytest.raises(ValueError, match="normaliser"):
        policy_loss(RATIOS, RATIOS, RATIOS, ADVANTAGES, MASK, None, Objective(), 0.0)


def test_old_policy_need_not_be_constant() -> None:
    old = torch.tensor([[-0.1, -2.0, -3.0, -1.0], [-1.0, -0.5, -0.2, -4.0]])
    assert run({"normalisation": "token"}, old=old)[0] == pytest.approx(0.32)


def test_advantages_without_std() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [2.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[0.5, -0.5, -0.5, 0.5], [1.5, -0.5, -0.5, -0.5]])
    torch.testing.assert_close(group_advantages(rewards, std=False), expected)


def test_advantages_with_std() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [2.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    # Sample deviations: sqrt(4 * 0.25 / 3) and sqrt((1.5^2 + 3 * 0.5^2) / 3) = 1.
    first = 0.5 / (math.sqrt(1 / 3) + 1e-4)
    expected = [[first, -first, -first, first], [1.5 / 1.0001] + [-0.5 / 1.0001] * 3]
    torch.testing.assert_close(group_advantages(rewards, std=True), torch.tensor(expected).double())


def test_equal_rewards_have_exactly_no_advantage() -> None:
    rewards = torch.tensor([[0.1 + 0.2, 0.3, 0.3], [0.7, 0.7, 0.7], [0.0, 0.0, 0.01]], dtype=torch.float64)
    assert zero_variance(rewards).tolist() == [True, True, False]
    assert not group_advantages(rewards, std=True)[:2].any()


def test_mask_leaves_out_inserted_tokens_and_truncated_rollouts() -> None:
    reply = torch.tensor([[0, 1, 1, 1, 0], [0, 1, 1, 1, 1]], dtype=torch.bool)
    inserted = torch.tensor([[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    truncated = torch.tensor([False, True])
    assert loss_mask(reply, inserted, truncated, False).int().tolist() == [[0, 1, 0, 1, 0], [0, 1, 1, 1, 1]]
    assert loss_mask(reply, inserted, truncated, True).int().tolist() == [[0, 1, 0, 1, 0], [0, 0, 0, 0, 0]]


def test_normalisers() -> None:
    counts = torch.tensor([3, 0, 5])
    assert [normaliser(counts, kind, 10) for kind in ("sequence", "token", "constant")] == [3, 8, 30]
    assert normaliser(torch.tensor([0, 0]), "token", 10) == 1


def test_entropy_of_known_distributions() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [math.log(3.0), 0.0, -math.inf, -math.inf]])
    logits.requires_grad_()
    values = entropy(logits)
    two = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert values.tolist() == pytest.approx([math.log(4), two])
    values.sum().backward()
    assert logits.grad is not None
    # dH/dz = -p (log p + H)
    expected = [-p * (math.log(p) + two) for p in (0.75, 0.25)]
    assert logits.grad[1].tolist() == pytest.approx([*expected, 0.0, 0.0])
    assert logits.grad[0].tolist() == pytest.approx([0.0] * 4)


def test_statistics_of_parts_add_up() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    names = ("clip/low", "clip/high", "kl", "entropy")
    values = {name: torch.arange(6.0).view(2, 3) + shift for shift, name in enumerate(names)}
    maxima = {"ratio/max": torch.arange(6.0).view(2, 3), "mismatch/max": torch.ones(2, 3)}

    def part(rows: slice) -> PolicyStats:
        return PolicyStats.of(
            mask[rows],
            {name: value[rows] for name, value in values.items()},
            {name: value[rows] for name, value in maxima.items()},
        )

    assert "mismatch/kl" not in part(slice(0, 1)).metrics()  # not given
    whole, parts = part(slice(0, 2)), part(slice(0, 1)) + part(slice(1, 2))
    assert whole.metrics() == parts.metrics()
    assert whole.metrics()["kl"] == pytest.approx((0 + 1 + 3) / 3 + 2)
    assert whole.metrics()["ratio/max"] == 3
    masked = PolicyStats.of(torch.zeros(2, 3, dtype=torch.bool), values, maxima)
    assert masked.metrics() == {}
    assert (whole + masked).metrics() == whole.metrics()
