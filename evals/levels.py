"""What levels of effort promise: their shares of the peak accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

SHARES = {"minimal": 0.80, "low": 0.90, "medium": 0.97, "high": 0.995, "xhigh": 0.999}
"""Of the peak, by level; `max` is no limit."""
UNLIMITED = "max"


@dataclass(frozen=True, slots=True)
class LevelRule:
    """What a level promises: its share of the peak accuracy, or of the peak's gain over no thinking.

    shares: by level, ascending; those not named are the default ones. Raises ValueError naming what is wrong.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    of: Literal["peak", "gain"] = "peak"

    def __post_init__(self) -> None:
        for level, share in self.shares.items():
            if level not in SHARES:
                raise ValueError(f"shares: {level} has no share; levels that have are {', '.join(SHARES)}")
            if not 0 < share <= 1:
                raise ValueError(f"shares: {level}={share:g} is no share; give more than 0 and at most 1")
        given = list(self.all.items())
        for (low, less), (high, more) in pairwise(given):
            if less > more:
                raise ValueError(
                    f"shares: {low}={less:g} is more than {high}={more:g}; they must not fall by level"
                )

    @property
    def all(self) -> dict[str, float]:
        """The share of each level that has one."""
        return SHARES | dict(self.shares)

    @property
    def text(self) -> str:
        """The rule in words, as the profile holds it."""
        shares = ", ".join(f"{100 * share:g} % ({level})" for level, share in self.all.items())
        what = "the peak accuracy" if self.of == "peak" else "the peak's gain in accuracy over no thinking"
        return (
            "the smallest budget, linear between the measured ones, at which the fitted curve reaches a "
            f"share of {what}: {shares}; no limit for {UNLIMITED}. The fitted curve rises, except from "
            "thinking off to the smallest budget, and beyond the best budget where the run shows that "
            "accuracy falls"
        )
