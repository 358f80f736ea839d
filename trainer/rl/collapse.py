"""Alarms: when a stage has collapsed, what has, and what to try."""

from collections.abc import Mapping
from typing import Any

from trainer.recipe.rl import Collapse

CORRECTNESS, TOTAL = "reward/correctness", "reward/total"


class CollapseError(RuntimeError):
    """Training has collapsed; the message has the numbers and what to try."""


class CollapseMonitor:
    """Watches means over the last `window` steps; `state` survives a restart."""

    def __init__(self, settings: Collapse) -> None:
        self._settings = settings
        self._recent: dict[str, list[float]] = {}
        self._best_reward: float | None = None

    def check(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take a step's metrics. Raises CollapseError when a mean is beyond its limit."""
        for name in ("entropy", CORRECTNESS, TOTAL, "group/zero_variance", "kl"):
            if name in metrics:
                window = self._recent.setdefault(name, [])
                window.append(metrics[name])
                del window[: -self._settings.window]
        for message in (self._entropy(), self._reward(), self._zero_variance(), self._kl()):
            if message:
                raise CollapseError(f"at step {step} {message}")

    def state(self) -> dict[str, Any]:
        """The windows, as JSON values."""
        return {"recent": self._recent, "best_reward": self._best_reward}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._recent = {name: list(values) for name, values in state["recent"].items()}
        self._best_reward = state["best_reward"]

    def _mean(self, name: str) -> float | None:
        values = self._recent.get(name, [])
        if len(values) < self._settings.window:
            return None
        return sum(values) / len(values)

    def _over(self) -> str:
        return f"over the last {self._settings.window} steps"

    def _entropy(self) -> str | None:
        mean = self._mean("entropy")
        if mean is None or mean >= self._settings.entropy:
            return None
        return (
            f"the entropy collapsed: its mean {self._over()} is {mean:.4g} nats per token, below "
            f"collapse.entropy {self._settings.entropy:g}, so that replies of a group hardly differ; try a "
            "lower learning rate, objective.clip_high 0.28 (DAPO's clip-higher) or an objective.entropy_bonus"
        )

    def _reward(self) -> str | None:
        # A term that sets in or changes its weight moves the total by itself; right answers do not.
        name = CORRECTNESS if CORRECTNESS in self._recent else TOTAL
        mean = self._mean(name)
        if mean is None:
            return None
        if self._best_reward is None or mean > self._best_reward:
            self._best_reward = mean
        # A share of the best is meaningless where the best is not positive.
        limit = self._best_reward * (1 - self._settings.reward_drop)
        if self._best_reward <= 0 or mean >= limit:
            return None
        return (
            f"the reward collapsed: the mean of {name} {self._over()} is {mean:.4g}, and was "
            f"{self._best_reward:.4g} at its best: a fall of more than collapse.reward_drop "
            f"{self._settings.reward_drop:g}; try a lower learning rate, more prompts_per_step or an "
            "objective.kl.coefficient"
        )

    def _zero_variance(self) -> str | None:
        mean = self._mean("group/zero_variance")
        if mean is None or mean < self._settings.zero_variance:
            return None
        return (
            f"the signal collapsed: {mean:.0%} of the groups {self._over()} have equal rewards, and "
            f"collapse.zero_variance is {self._settings.zero_variance:.0%}; the problems are too easy or too "
            "hard for the policy: try other levels in data, sampling.strategy 'prioritised', a larger "
            "group_size, or rollouts.refill"
        )

    def _kl(self) -> str | None:
        mean, limit = self._mean("kl"), self._settings.kl
        if mean is None or limit is None or mean <= limit:
            return None
        return (
            f"the policy ran away from its reference: the mean KL {self._over()} is {mean:.4g} nats per "
            f"token, above collapse.kl {limit:g}; try a lower learning rate or a higher "
            "objective.kl.coefficient"
        )
