"""Estimates of the divergence between two policies, from tokens that one of them sampled."""

from typing import Literal, assert_never

from torch import Tensor


def kl_estimate(logprobs: Tensor, reference: Tensor, kind: Literal["k1", "k2", "k3"]) -> Tensor:
    """KL(pi || reference) at each sampled token, in nats; any shape.

    With r = reference / pi, Schulman, "Approximating KL Divergence" (2020): k1 = -log r, unbiased and of
    high variance; k2 = (log r)^2 / 2, biased; k3 = r - 1 - log r, unbiased and never negative (DeepSeekMath,
    eq. 4).

    Gradients as a term of a loss, in expectation over tokens of pi:
    k1: of KL(pi || reference). Its own gradient is 0 in expectation, so k2's takes its place.
    k2: of KL(pi || reference), exactly, though its value is biased.
    k3: of KL(reference || pi), which is what GRPO as published does (DeepSeekMath, eq. 21).
    Tang and Munos, "On a few pitfalls in KL divergence gradient estimation for RL" (2025), prove these.
    """
    difference = logprobs - reference
    match kind:
        case "k1":
            square = difference.square() / 2
            return difference.detach() + square - square.detach()
        case "k2":
            return difference.square() / 2
        case "k3":
            return (-difference).exp() - 1 + difference
        case _:
            assert_never(kind)
