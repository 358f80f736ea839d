"""Settings of reinforcement learning: objective, rewards, budgets, sampling of problems, rollouts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from trainer.recipe.section import Section


class KL(Section):
    """Penalty on the divergence from the stage's first policy, by one of Schulman's estimators."""

    estimator: Literal["k1", "k2", "k3"] = "k3"
    coefficient: float = Field(default=0.0, ge=0)
    """0 loads no reference model."""


class Objective(Section):
    """The policy-gradient loss. The defaults are Dr. GRPO's; the README lists the papers' settings."""

    loss: Literal["clipped", "squared"] = "clipped"
    """The clipped surrogate (PPO, GRPO and their kin), or Kimi k1.5's squared loss on whole rollouts."""
    tau: float | None = Field(default=None, gt=0)
    """squared: weight of what draws a step's updates to the policy it began with, in reward per nat."""
    reset_optimizer: bool = False
    """Forget the optimizer's moments at every step's start, as each is a problem of its own (Kimi k1.5)."""
    advantage_std: bool = False
    """Divide a group's advantages by its standard deviation (GRPO; off in Dr. GRPO)."""
    normalisation: Literal["sequence", "token", "constant", "rollout"] = "constant"
    """Mean over each rollout (GRPO), over all tokens (DAPO), a sum over a constant (Dr. GRPO), or a sum over
    each rollout and the mean of these (Kimi k1.5)."""
    ratio: Literal["token", "sequence"] = "token"
    """Importance ratio of each token (PPO) or of the whole rollout (GSPO)."""
    clip_low: float = Field(default=0.2, ge=0, le=1)
    clip_high: float = Field(default=0.2, ge=0)
    """Above clip_low it is DAPO's clip-higher."""
    kl: KL = KL()
    entropy_bonus: float = 0.0
    mask_truncated: bool = False
    """Leave rollouts that ran into max_tokens out of the loss (DAPO)."""
    correction: Literal["none", "token", "sequence"] = "token"
    """Truncated importance weights for the engine's log-probabilities differing from the trainer's."""
    correction_cap: float = Field(default=2.0, gt=0)
    epochs: int = Field(default=1, gt=0)
    """Passes over each step's rollouts."""
    minibatches: int = Field(default=1, gt=0)
    """Optimizer steps in a pass."""

    @model_validator(mode="after")
    def _members_of_loss(self) -> "Objective":
        if self.loss == "squared":
            for member in ("ratio", "clip_low", "clip_high"):
                value = getattr(self, member)
                if value != type(self).model_fields[member].default:
                    raise ValueError(
                        f"{member}: {value!r} is wrong because loss 'squared' has no clipped ratio; leave it "
                        "out, or give loss 'clipped'"
                    )
            if self.tau is None:
                raise ValueError("tau: is missing, and loss 'squared' needs it; give a number above 0")
        elif self.tau is not None:
            raise ValueError(
                f"tau: {self.tau} is wrong because loss 'clipped' has no quadratic term; leave it out, or "
                "give loss 'squared'"
            )
        return self

    @property
    def updates(self) -> int:
        """Optimizer steps on each step's rollouts."""
        return self.epochs * self.minibatches


class Budget(Section):
    """Thinking budgets in RL: one for each group, so that advantages compare like with like."""

    mode: Literal["off", "uniform", "curriculum"] = "off"
    """curriculum: the lower end starts at `high` and falls to `low` over the stage."""
    low: int = Field(default=0, ge=0)
    high: int = Field(default=0, ge=0)
    """Both in thinking tokens, both included."""
    share: float = Field(default=1.0, ge=0, le=1)
    """Of the thinking groups that have a budget; the others think freely."""

    @model_validator(mode="after")
    def _ordered(self) -> "Budget":
        if self.mode != "off" and not 1 <= self.low <= self.high:
            raise ValueError(f"low {self.low} and high {self.high} must hold 1 <= low <= high")
        return self


class Modes(Section):
    """How prompts ask for thinking or none; one way for each group."""

    no_think: float = Field(default=0.0, ge=0, le=1)
    """Share of groups asked not to think."""
    flagged: float = Field(default=0.0, ge=0, le=1)
    """Share of groups with `/think` or `/no_think`; others think by default or use the hard switch."""
    in_system: float = Field(default=0.3, ge=0, le=1)
    multi_turn: float = Field(default=0.0, ge=0, le=1)
    overruled: float = Field(default=0.0, ge=0, le=1)
    """Share of the flags in user turns with one in the system turn before them, the same or the other."""


class RewardTerm(Section):
    """One reward function, its weight, and when it counts."""

    name: str
    """`correctness`, `format`, `language`, `length`, `mode_following`, `overlong`, `repetition`, or
    `module:function`."""
    weight: float = 1.0
    from_step: int = Field(default=0, ge=0)
    """The weight is 0 before this step."""
    ramp_steps: int = Field(default=0, ge=0)
    """Steps over which the weight then rises."""
    options: dict[str, Any] = {}


def needs_answers(terms: Sequence[RewardTerm]) -> bool:
    """Whether replies are compared with answers, which every problem must then have."""
    return any(term.name in ("correctness", "equivalence") for term in terms)


class ProblemSampling(Section):
    """Which problems a step asks."""

    strategy: Literal["uniform", "easy_to_hard", "prioritised"] = "uniform"
    """prioritised: with probability proportional to 1 - success rate (Kimi k1.5, section 2.3.4)."""
    pool: int | None = Field(default=None, gt=0)
    """Endless sources give this many problems to choose from; None draws fresh ones (uniform only)."""


class Rollouts(Section):
    """Where replies come from and how they are sampled."""

    backend: Literal["engine", "servers", "transformers"] = "engine"
    """vLLM in this process, running `thinkdial serve` processes, or transformers' generate."""
    urls: list[str] = []
    """Of the servers."""
    weights_folder: Path | None = None
    """Of the servers' `--weight-updates`, seen from here: each step's weights pass through it."""
    temperature: float = Field(default=1.0, gt=0, le=2)
    """vLLM refuses more than 2."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(gt=0)
    """Of a whole reply, inserted tokens included."""
    answer_tokens: int = Field(default=32, gt=0)
    """Part of max_tokens that thinking may not use, so that a cut reply can end."""
    tokens_per_step: int | None = Field(default=None, gt=0)
    """Partial rollouts: a reply with this many tokens generated in a step goes on in the next (Kimi k1.5)."""
    refill: int = Field(default=0, ge=0)
    """Rounds that replace groups whose rewards are all equal (DAPO's dynamic sampling); 0 keeps them."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the engine's weights."""
    kv_cache_gib: float = Field(default=1.0, gt=0)
    sync_tolerance: float = Field(default=0.02, gt=0)
    """Largest difference, in nats, between engine and trainer on the probe after a weight sync."""

    @model_validator(mode="after")
    def _servers(self) -> "Rollouts":
        if self.backend == "servers" and not (self.urls and self.weights_folder):
            raise ValueError("backend servers needs urls and weights_folder")
        if self.backend != "servers" and (self.urls or self.weights_folder):
            raise ValueError(f"urls and weights_folder are for backend servers; backend is {self.backend}")
        return self


class Collapse(Section):
    """When a stage stops early: a mean over `window` steps below its limit."""

    window: int = Field(default=20, gt=0)
    entropy: float = Field(default=0.0, ge=0)
    """Nats per token."""
    reward_drop: float = Field(default=0.5, gt=0, le=1)
    """Fall of mean correctness (of the reward, where that is no term) below its best window, as a share."""
    zero_variance: float = Field(default=1.0, gt=0, le=1)
    """Share of groups without a signal from which a stage stops."""
    kl: float | None = Field(default=None, gt=0)
