"""Paired differences against closed forms and simulated coverage."""

import random
from math import sqrt

import pytest
from scipy.special import ndtri

from evals.stats import paired_difference


def test_paired_difference_closed_form() -> None:
    """McNemar's table: 7 wins, 1 loss of 30."""
    first = {str(i): [float(i == 29)] for i in range(30)}
    second = {str(i): [float(i < 7)] for i in range(30)}
    estimate = paired_difference(first, second)
    assert estimate is not None
    assert estimate.mean == pytest.approx(0.2)
    assert estimate.se == pytest.approx(0.088, abs=5e-4)
    half = float(ndtri(0.975)) * sqrt((10 / 32 - 0.1875**2) / 32)  # Bonett and Price
    assert (estimate.low, estimate.high) == pytest.approx((0.1875 - half, 0.1875 + half))


def test_paired_difference_uses_common_questions() -> None:
    estimate = paired_difference({"a": [0], "b": [0, 1], "c": [1]}, {"a": [1], "b": [1, 1], "d": [0]})
    assert estimate is not None
    assert (estimate.n, estimate.mean) == (2, 0.75)
    assert paired_difference({"a": [1]}, {"b": [1]}) is None
    alone = paired_difference({"a": [1]}, {"a": [0]})
    assert alone is not None
    assert (alone.mean, alone.se, alone.low, alone.high) == (-1.0, None, -1.0, 1.0)


def test_paired_coverage() -> None:
    rng = random.Random(2)
    held, runs = 0, 600
    for _ in range(runs):
        first, second = {}, {}
        for question in range(80):
            p = rng.random() * 0.8
            first[str(question)] = [float(rng.random() < p)]
            second[str(question)] = [float(rng.random() < p + 0.1)]
        estimate = paired_difference(first, second)
        assert estimate is not None
        held += estimate.low <= 0.1 <= estimate.high
    assert 0.925 <= held / runs <= 0.975
