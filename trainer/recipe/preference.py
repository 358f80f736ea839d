"""Settings of learning from preferences: the loss, and where pairs of replies come from."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from trainer.recipe.rl import Modes, RewardTerm, Rollouts, needs_answers
from trainer.recipe.section import Section
from trainer.recipe.stage import THINKMATH, Stage

PreferenceLoss = Literal["sigmoid", "sigmoid_norm", "ipo", "hinge", "simpo"]
BETAS: dict[PreferenceLoss, float] = {
    "sigmoid": 0.1,
    "sigmoid_norm": 5.0,
    "ipo": 0.1,
    "hinge": 0.1,
    "simpo": 2.0,
}
"""Each loss's beta unless given: those of its paper."""
SIMPO_MARGIN = 1.0


class PreferenceObjective(Section):
    """The loss of a pair. trainer/objectives/preference.py has the formulas."""

    loss: PreferenceLoss = "sigmoid"
    """`sigmoid` is DPO; `sigmoid_norm` divides by lengths; `simpo` does so and has no reference."""
    beta: float | None = Field(default=None, gt=0)
    """None is the paper's: 0.1, for sigmoid_norm 5, for simpo 2. ipo calls it tau."""
    margin: float | None = Field(default=None, ge=0)
    """simpo's gamma, by which the chosen reply's reward is to exceed the rejected one's; None is 1."""
    kl: float = Field(default=0.0, ge=0)
    """Weight of KL(reference || policy), nats per token, estimated on the pairs' own tokens."""
    nll: float = Field(default=0.0, ge=0)
    """Weight of -log pi of the chosen replies, nats per token; keeps DPO from making both replies rarer."""

    @model_validator(mode="after")
    def _margin_is_simpos(self) -> "PreferenceObjective":
        if self.margin is not None and self.loss != "simpo":
            raise ValueError(f"margin: {self.margin} is for loss 'simpo'; loss is {self.loss!r}")
        return self


class Pairs(Section):
    """Pairs of replies to a prompt, the chosen better than the rejected: sampled and judged, or given.

    Give `path`, or `problems` with `rollouts`.
    """

    path: Path | None = None
    """JSONL with `chosen`, `rejected`, `prompt` or `messages`, and maybe `weight`."""
    problems: int | None = Field(default=None, gt=0)
    """How many of the stage's data are answered by the model the stage begins with."""
    held_out: int = Field(default=0, ge=0)
    """Prompts whose pairs are measured every `evaluate_every` steps and not trained: of `path`, its first;
    else problems beside `problems`."""
    samples: int = Field(default=8, ge=2)
    """Replies to a problem."""
    per_problem: int = Field(default=4, gt=0)
    """Most pairs of a problem: the widest gaps first, and among equal ones those of replies least used."""
    prefer: Literal["right", "short"] = "right"
    """right: the reply of higher reward is chosen. short: the shortest right reply is, over wrong ones that
    are longer and right ones `longer` times as long (Kimi k1.5, section 2.4)."""
    longer: float | None = Field(default=None, gt=1)
    """For `short`; None is 1.5."""
    rewards: list[RewardTerm] = Field(default=[RewardTerm(name="correctness")], min_length=1)
    rewards_unverified: bool = False
    """Allow rewards with which a wrong reply may beat a right one, as with a judge's alone."""
    near_tie: float = Field(default=0.0, ge=0)
    """Pairs whose rewards differ by this or less are left out."""
    weights_by_gap: bool = False
    """A pair weighs as its rewards differ; the mean weight is 1."""
    modes: Modes = Modes()
    rollouts: Rollouts | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "Pairs":
        fields = type(self).model_fields
        given = {name for name, field in fields.items() if getattr(self, name) != field.default}
        if self.path is not None:
            for name in sorted(given - {"path", "held_out"}):
                raise ValueError(f"{name}: is for pairs that are sampled, and path gives them; leave one out")
        elif self.problems is None or self.rollouts is None:
            raise ValueError("give path, or problems and rollouts")
        elif self.rollouts.tokens_per_step is not None or self.rollouts.refill:
            raise ValueError("rollouts: tokens_per_step and refill are for steps of RL; leave them out")
        for term in self.rewards:
            if term.from_step or term.ramp_steps:
                raise ValueError(
                    f"rewards.{term.name}: from_step and ramp_steps are for steps of RL; leave them out"
                )
        for name in ("rewards", "rewards_unverified", "near_tie", "weights_by_gap"):
            if self.prefer == "short" and name in given:
                raise ValueError(f"{name}: prefer = 'short' compares lengths, not rewards; leave it out")
        if self.prefer != "short" and self.longer is not None:
            raise ValueError(f"longer: {self.longer} is for prefer = 'short'; prefer is {self.prefer!r}")
        return self


class PairStage(Stage):
    """A stage that learns from pairs of replies."""

    pairs: Pairs
    steps: int | None = Field(default=None, gt=0)
    epochs: float | None = Field(default=None, gt=0)
    """Give either."""
    batch_pairs: int = Field(gt=0)
    """Of an optimizer step over all processes."""
    micro_batch_tokens: int = Field(default=16384, gt=0)
    """Most padded tokens of one forward pass on one process; a longer pair stands alone."""
    max_length: int = Field(default=4096, gt=0)
    """Pairs with a longer reply, prompt included, are left out, and counted."""

    @property
    def graded(self) -> bool:
        """Whether replies are compared with answers, which every problem must then have."""
        return self.pairs.path is None and (self.pairs.prefer == "short" or needs_answers(self.pairs.rewards))

    @model_validator(mode="after")
    def _consistent(self) -> "PairStage":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        if self.pairs.path is not None and self.data != [THINKMATH]:
            raise ValueError("data: sampled pairs ask from it, and pairs.path gives pairs; leave one out")
        return self
