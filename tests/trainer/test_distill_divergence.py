"""Divergences against values computed by hand, and TRL's loss on the same states."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from trl.trainer.distillation_trainer import _chunked_divergence_loss

from trainer.distill.divergence import reply_divergence, token_divergence
from trainer.rollouts.types import Rollout, RolloutRequest

LN = math.log
TEACHER, STUDENT = [0.5, 0.25, 0.25], [0.25, 0.25, 0.5]
FORWARD = 0.5 * LN(2) + 0.25 * LN(1) + 0.25 * LN(0.5)
"""KL(teacher || student), by hand."""
BETA = 0.25
MIXTURE = [0.3125, 0.25, 0.4375]
"""A quarter of the teacher, three of the student."""
BETWEEN = BETA * sum(p * LN(p / m) for p, m in zip(TEACHER, MIXTURE, strict=True)) + (1 - BETA) * sum(
    q * LN(q / m) for q, m in zip(STUDENT, MIXTURE, strict=True)
)
UNEVEN = [0.7, 0.2, 0.1]
REVERSE = sum(q * LN(q / p) for q, p in zip(STUDENT, UNEVEN, strict=True))


@pytest.mark.parametrize(
    ("teacher", "beta", "expected"),
    [(TEACHER, 0.0, FORWARD), (TEACHER, BETA, BETWEEN), (UNEVEN, 1.0, REVERSE)],
)
def test_divergence_is_that_computed_by_hand(teacher: list[float], beta: float, expected: float) -> None:
    # Logits are log-probabilities up to a constant, which must not matter.
    logits = [torch.tensor(p).log() + shift for p, shift in ((STUDENT, 3.0), (teacher, -1.0))]
    assert token_divergence(*logits, beta).item() == pytest.approx(expected, abs=1e-6)
    cooled = token_divergence(*[2 * each for each in logits], beta, temperature=2.0)
    assert cooled.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
def test_trls_loss_is_the_masked_mean_of_it(beta: float) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 8, requires_grad=True), torch.randn(2, 5, 12)
    heads = torch.randn(20, 8), torch.randn(20, 12)
    mask = torch.tensor([[1, 1, 0, 1, 0], [1, 0, 0, 0, 1]])
    theirs, entropy, count = _chunked_divergence_loss(
        student, teacher, *heads, mask, beta, num_items_in_batch=3, temperature=1.5
    )
    ours = token_divergence(student @ heads[0].T, teacher @ heads[1].T, beta, 1.5)
    expected = (ours * mask).sum() / 3
    assert theirs.item() == pytest.approx(expected.item(), rel=1e-5)
    assert count.item() == 5
    (theirs_gradient,) = torch.autograd.grad(theirs, student)
    (our_gradient,) = torch.autograd.grad(expected, student)
    torch.testing.assert_close(theirs_gradient, our_gradient, rtol=1e-4, atol=1e-6)
    probabilities = (student @ heads[0].T / 1.5).softmax(-1)
    entropies = -(probabilities * probabilities.log()).sum(-1)
    assert entropy.item() == pytest.approx((entropies * mask).sum().item(), rel=1e-4)


logits = st.lists(st.floats(-5, 5), min_size=4, max_size=4).map(torch.tensor)


@settings(deadline=None)
@given(logits, logits, st.floats(0, 1))
def test_divergence_is_positive_and_zero_for_equals(
    one: torch.Tensor, other: torch.Tensor, beta: float
) -> None:
    assert token_divergence(one, other, beta).item() >= -1e-5
    assert token_divergence(one, one, beta).item() == pytest.approx(0, abs=1e-5)


class Fixed(nn.Module):
    """Logits of the next token that depend on the token alone."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = table

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> "Fixed":
        self.logits = self.table[input_ids]
        return self


def reply(prompt: list[int], tokens: list[int], inserted: list[bool]) -> Rollout:
    count = len(tokens)
    request = RolloutRequest(tuple(prompt), max_tokens=count, seed=0)
    zeros = (0,) * count
    return Rollout(request, tuple(tokens), (0.0,) * count, tuple(inserted), zeros, 0, "natural", "stop")


def test_replies_count_at_sampled_tokens_only() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 6), torch.randn(6, 6)
    replies = [
        reply([1, 2], [3, 4, 5], [False, True, False]),
        *[reply([0], [2], [False]) for _ in range(9)],
    ]
    total, count = reply_divergence(Fixed(student), Fixed(teacher), replies, torch.device("cpu"))
    # A token's distribution is the one after the token before it: 2 -> 3, (4 -> 5), and 0 -> 2 nine times.
    each = token_divergence(student, teacher, 1.0)
    assert count == 11
    assert total == pytest.approx((each[2] + each[4] + 9 * each[0]).item(), rel=1e-5)
