"""Each alarm is provoked, says what collapsed with its numbers, and stays silent below its limit."""

import json
from typing import Any

import pytest

from trainer.recipe.rl import Collapse
from trainer.rl.collapse import CollapseError, CollapseMonitor

HEALTHY = {
    "entropy": 0.3,
    "reward/total": 0.6,
    "reward/correctness": 0.5,
    "group/zero_variance": 0.4,
    "kl": 0.01,
}
SETTINGS = {"window": 3, "entropy": 0.05, "reward_drop": 0.5, "zero_variance": 0.9, "kl": 0.2}


def watch(steps: list[dict[str, float]], **settings: Any) -> CollapseMonitor:
    monitor = CollapseMonitor(Collapse.model_validate(SETTINGS | settings))
    for step, metrics in enumerate(steps, 1):
        monitor.check(step, HEALTHY | metrics)
    return monitor


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entropy": 0.01}, r"at step 6 the entropy collapsed: its mean over the last 3 steps is 0\.01"),
        (
            {"reward/correctness": 0.2},
            r"the mean of reward/correctness over the last 3 steps is 0\.2, and was 0\.5 at its best",
        ),
        ({"group/zero_variance": 0.95}, r"the signal collapsed: 95% of the groups .* is 90%"),
        ({"kl": 0.25}, r"the policy ran away from its reference: .* is 0\.25 nats per token"),
    ],
)
def test_what_collapsed_is_said_with_the_numbers(change: dict[str, float], message: str) -> None:
    with pytest.raises(CollapseError, match=message) as raised:
        watch([{}] * 3 + [change] * 3)
    assert "try" in str(raised.value)


def test_a_single_bad_step_is_no_collapse() -> None:
    watch(
        [{}] * 3
        + [{"entropy": 0.0, "group/zero_variance": 1.0, "reward/correctness": 0.3, "kl": 0.4}]
        + [{}] * 4
    )


def test_a_term_that_sets_in_is_no_collapse_while_as_many_are_right() -> None:
    watch([{}] * 5 + [{"reward/total": 0.1, "reward/length": -0.5}] * 5)


def test_without_correctness_the_reward_itself_is_watched() -> None:
    monitor = CollapseMonitor(Collapse.model_validate(SETTINGS))
    for step, reward in enumerate([0.5, 0.5, 0.5, 0.1], 1):
        monitor.check(step, {"reward/total": reward, "reward/learned": reward})
    with pytest.raises(CollapseError, match=r"the mean of reward/total .* and was 0\.5 at its best"):
        monitor.check(5, {"reward/total": 0.1, "reward/learned": 0.1})


def test_a_reward_that_never_was_positive_cannot_fall() -> None:
    watch([{"reward/correctness": 0.0}] * 10)
    watch([{"reward/correctness": -0.5}] * 5 + [{"reward/correctness": -1.0}] * 5)


def test_by_default_no_signal_at_all_is_a_collapse() -> None:
    with pytest.raises(CollapseError, match="the signal collapsed: 100%"):
        watch([{"group/zero_variance": 1.0}] * 3, zero_variance=1.0)
    watch([{"group/zero_variance": 0.99}] * 9, zero_variance=1.0)


def test_a_restored_monitor_goes_on_with_its_windows() -> None:
    before = watch([{}] * 3 + [{"entropy": 0.001}] * 2, entropy=0.01)
    after = CollapseMonitor(Collapse.model_validate(SETTINGS | {"entropy": 0.01}))
    after.restore(json.loads(json.dumps(before.state())))
    with pytest.raises(CollapseError, match="entropy"):
        after.check(6, HEALTHY | {"entropy": 0.001})
