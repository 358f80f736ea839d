"""Lengths against replies drawn, and step times fitted to steps that are known."""

import random

import numpy as np
import pytest

from serve.work import Lengths, StepFit
from tests.serve.simulated_load import profile_of

NATURAL = np.random.default_rng(0).geometric(1 / 40, size=20_000)
CURVE = profile_of({None: NATURAL.tolist()}, range(0, 160, 4)).overall
ANSWER = 10


@pytest.mark.parametrize("stretch", [1.0, 2.5])
@pytest.mark.parametrize(
    ("budget", "done"),
    [(budget, done) for budget in (None, 64) for done in (0, 4, 12, 20, 40, 60)]
    + [(16, done) for done in (0, 4, 12, 20)],
)
def test_what_is_left_of_a_reply(stretch: float, budget: int | None, done: int) -> None:
    total = np.minimum(NATURAL * stretch, np.inf if budget is None else budget) + ANSWER
    alive = total > done
    lengths = Lengths(CURVE, stretch, ANSWER)
    assert lengths.left(budget, done) == pytest.approx((total[alive] - done).mean(), rel=0.1)


def test_lengths_of_a_curve() -> None:
    lengths = Lengths(CURVE, 1.0, ANSWER)
    assert lengths.thinking(None) == pytest.approx(NATURAL.mean())
    assert lengths.longer(40) == pytest.approx((NATURAL > 42).mean(), abs=0.02)
    assert lengths.cut(0) == lengths.cut(None) == 0
    assert lengths.cut(16) == pytest.approx((NATURAL > 18).mean(), abs=0.02)
    assert lengths.long() == pytest.approx(np.quantile(NATURAL, 0.95) + ANSWER, rel=0.1)
    assert lengths.ceilings()[0] == 0
    assert lengths.ceilings()[-1] is None
    assert lengths.accuracy(64) == pytest.approx((NATURAL <= 64).mean(), abs=0.02)


def test_step_times_are_found_whatever_the_load_does() -> None:
    rng = random.Random(0)
    fit = StepFit()
    now, tokens = 0.0, 20.0
    for number in range(6000):
        tokens = min(200.0, max(1.0, tokens + rng.uniform(-5, 5)))
        started = rng.randrange(3)
        now += (0.003 + 0.0002 * int(tokens) + 0.004 * started) * rng.uniform(0.7, 1.3)
        idle = number % 100 == 99
        fit.step(now, 0, int(tokens), started, 0 if idle else 5)
        now += 0.5 * idle  # time in which nothing runs does not count
    times = fit.times()
    assert times is not None
    assert times.overhead == pytest.approx(0.003, abs=0.0008)
    assert times.per_token == pytest.approx(0.0002, rel=0.1)
    assert times.per_start == pytest.approx(0.004, rel=0.3)


def test_one_reply_at_a_time_does_not_tell_what_replies_take_of_each_other() -> None:
    fit = StepFit()
    for number in range(3000):
        fit.step(0.005 * number, 0, 1, int(number % 50 == 0), 1)
    times = fit.times()
    assert times is not None
    assert times.overhead == pytest.approx(0.005, rel=0.02)
    assert times.per_token < 0.0001


def test_a_machine_that_slows_down_is_noticed_at_once() -> None:
    rng = random.Random(0)
    fit = StepFit()
    now = 0.0
    for number in range(6000):
        slow = 3.0 if number >= 5800 else 1.0
        tokens = rng.randrange(1, 100)
        now += slow * (0.003 + 0.0002 * tokens)
        fit.step(now, 0, tokens, 0, 1)
    times = fit.times()
    assert times is not None
    assert times.overhead == pytest.approx(0.009, rel=0.3)
    assert times.per_token == pytest.approx(0.0006, rel=0.15)


def test_no_time_is_negative() -> None:
    fit = StepFit()
    for number in range(1000):  # more tokens, less time: no sensible machine
        fit.step(0.01 * number + 0.001 * (number % 2), 0, 10 + number % 2, 0, 1)
    times = fit.times()
    assert times is not None
    assert min(times.overhead, times.per_token, times.per_start) >= 0
