"""What a reward model thinks of a reply."""

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from trainer.completion import Completion
from trainer.recipe.section import Section
from trainer.rewards.terms import Noted, Range

if TYPE_CHECKING:
    from trainer.rewards.scorer import RewardScorer


class Learned(Section):
    """A reward model's score, standardised and bounded: f((score - mean) / deviation).

    The mean and deviation are those of held-out replies when it was trained (the checkpoint knows them), as a
    Bradley-Terry model leaves both open; f is `sigmoid` (0 to 1), `tanh` (-1 to 1) or `clip` (-limit to
    limit). The note `learned/score` is the score itself.
    """

    stage: str | None = None
    """The reward_model stage of this recipe that it comes from."""
    path: Path | None = None
    """Or a checkpoint's folder, or a model of the hub with one label."""
    squash: Literal["sigmoid", "tanh", "clip"] = "sigmoid"
    limit: float | None = Field(default=None, gt=0)
    """clip: in standard deviations; 5 unless given."""
    mean: float | None = None
    deviation: float | None = Field(default=None, gt=0)
    """Of the scores; None is what the checkpoint knows, and 0 and 1 where it knows nothing."""
    reads: Literal["reply", "answer"] = "reply"
    """What it is shown: all of a reply, as those trained here, or what follows the thinking."""
    run: Path | None = None

    @model_validator(mode="after")
    def _one_model(self) -> "Learned":
        if (self.stage is None) == (self.path is None):
            raise ValueError("give either stage (a reward_model stage of this recipe) or path (a checkpoint)")
        if self.stage is not None and self.run is None:
            raise ValueError(f"stage: {self.stage!r} is for stages of RL; give path in its place")
        if self.limit is not None and self.squash != "clip":
            raise ValueError(f"limit: {self.limit} is for squash 'clip'; squash is {self.squash!r}")
        return self

    @property
    def right(self) -> Range:
        high = {"sigmoid": 1.0, "tanh": 1.0, "clip": self._limit}[self.squash]
        return Range(0.0 if self.squash == "sigmoid" else -high, high)

    @property
    def wrong(self) -> Range:
        return self.right

    def score_step(self, groups: Sequence[Sequence[Completion]]) -> list[list[Noted]]:
        completions = [completion for group in groups for completion in group]
        scores = iter(self._scorer.scores(completions))
        return [
            [Noted(self.bound(score), {"learned/score": score}) for score in islice(scores, len(group))]
            for group in groups
        ]

    def bound(self, score: float) -> float:
        """The value of a score."""
        mean = self._scorer.mean if self.mean is None else self.mean
        deviation = self._scorer.deviation if self.deviation is None else self.deviation
        standard = (score - mean) / deviation
        if self.squash == "clip":
            return min(max(standard, -self._limit), self._limit)
        return math.tanh(standard) if self.squash == "tanh" else (1 + math.tanh(standard / 2)) / 2

    @property
    def _limit(self) -> float:
        return 5.0 if self.limit is None else self.limit

    @cached_property
    def _scorer(self) -> "RewardScorer":
        """Loaded when it is first needed: a dry run has no checkpoint of the stage yet."""
        from trainer.rewards.scorer import RewardScorer

        return RewardScorer(self._folder, self.reads)

    @property
    def _folder(self) -> Path:
        if self.path is not None:
            return self.path
        assert self.run is not None
        return self.run / str(self.stage) / "checkpoint"
