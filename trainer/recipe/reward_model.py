"""A reward model: which pairs of replies it learns from."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from trainer.recipe.preference import PairStage


class RewardModelStage(PairStage):
    """A Bradley-Terry reward model, learnt from pairs of replies to one prompt (Ouyang et al. 2022, eq. 1).

    Its checkpoint is a sequence-classification model with one score. It is no policy: the next stage begins
    with the policy before this one, and is rewarded by this one through the reward `learned`.
    """

    leaves_policy: ClassVar[bool] = False

    kind: Literal["reward_model"] = "reward_model"
    noise: float = Field(default=0.0, ge=0, le=0.5)
    """Share of the training pairs whose preference is turned around; held-out pairs keep theirs."""
    centring: float = Field(default=0.0, ge=0)
    """Weight of (score of chosen + score of rejected)^2, which draws scores to a mean of 0 (Eisenstein et al.
    2023, eq. 2); differences alone leave it open."""

    @model_validator(mode="after")
    def _is_measured(self) -> "RewardModelStage":
        if self.pairs.held_out == 0:
            raise ValueError(
                "pairs.held_out: 0 is wrong because a reward model is worth what it says of pairs it was not "
                "trained on; give some prompts"
            )
        return self
