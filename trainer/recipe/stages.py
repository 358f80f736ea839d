"""The stages a recipe may chain, in any order and number."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.recipe.average import Average
from trainer.recipe.critic import Critic, check_advantages
from trainer.recipe.data import RowMix, Source
from trainer.recipe.model import Optimizer
from trainer.recipe.preference import PairStage, PreferenceObjective
from trainer.recipe.reward_model import RewardModelStage
from trainer.recipe.rl import (
    Budget,
    Collapse,
    Modes,
    Objective,
    ProblemSampling,
    RewardTerm,
    Rollouts,
    needs_answers,
)
from trainer.recipe.section import Section
from trainer.recipe.stage import Stage


class SFTStage(Stage):
    """Supervised fine-tuning on replies. Lengths are in tokens, padding included."""

    tokens: int | None = Field(default=None, gt=0)
    epochs: float | None = Field(default=None, gt=0)
    """Give either; endless sources need `tokens`."""
    batch_tokens: int = Field(gt=0)
    """Of an optimizer step over all processes, on average: rows are not split."""
    micro_batch_tokens: int | None = Field(default=None, gt=0)
    """Most padded tokens of one forward pass on one process; None is all of the process's share."""
    max_length: int = Field(default=4096, gt=0)
    """Longer rows are left out, and counted."""
    held_out: list[Source] = []
    """What `evaluate_every` measures on: worked replies, none of them trained on; [] is thinkmath's."""
    packing: bool = False
    """Several rows in a sequence of up to max_length tokens; False puts rows of like length side by side."""

    @model_validator(mode="after")
    def _one_length(self) -> "SFTStage":
        if (self.tokens is None) == (self.epochs is None):
            raise ValueError("give either tokens or epochs")
        return self


class ColdStart(SFTStage):
    """Stage 1: SFT on long chains of thought; loss on the reply only."""

    kind: Literal["cold_start"] = "cold_start"


class Rejection(Section):
    """Thinking sampled from the model itself, of which right replies are kept (Qwen3 report, section 4.3)."""

    sampled_from: str | None = None
    """An earlier stage, or a checkpoint's path, with the same tokenizer; None is what the stage begins with.
    DeepSeek-R1 samples its RL checkpoint and trains its base model (section 2.3.3)."""
    problems: int = Field(default=2000, gt=0)
    samples: int = Field(default=4, gt=0)
    """Tries at each problem."""
    keep: int = Field(default=1, gt=0)
    """Right replies kept of a problem, shortest first where `shortest`."""
    shortest: bool = False
    rollouts: Rollouts


class Fusion(SFTStage):
    """Stage 3: SFT on thinking and non-thinking rows with their switches."""

    kind: Literal["fusion"] = "fusion"
    mix: RowMix = RowMix()
    rejection: Rejection | None = None
    """None takes the thinking half from the sources as it is."""


class RLStage(Stage):
    """GRPO and its kin on verifiable rewards."""

    steps: int = Field(gt=0)
    prompts_per_step: int = Field(gt=0)
    """Groups, over all processes."""
    group_size: int = Field(ge=1)
    """Replies to a prompt: at least 2, or 1 with a critic."""
    micro_batch_tokens: int = Field(default=16384, gt=0)
    """Padded tokens of one forward pass."""
    keep_every: int = Field(default=0, ge=0)
    """Steps between checkpoints that stay in the stage's folder `kept/`; 0 keeps none but the last."""
    objective: Objective = Objective()
    critic: Critic | None = None
    """None compares a group's rewards (GRPO); with one the stage is PPO."""
    rewards: list[RewardTerm] = Field(default=[RewardTerm(name="correctness")], min_length=1)
    rewards_unverified: bool = False
    """Allow rewards with which a wrong reply may beat a right one, as with a learned reward alone. Whether
    answers are right is measured all the same."""
    rollouts: Rollouts
    sampling: ProblemSampling = ProblemSampling()
    budget: Budget = Budget()
    modes: Modes = Modes()
    collapse: Collapse | None = Collapse()

    @property
    def graded(self) -> bool:
        """Whether replies are compared with answers, which every problem must then have."""
        return needs_answers(self.rewards)

    @model_validator(mode="after")
    def _kl_is_measured(self) -> "RLStage":
        if self.collapse and self.collapse.kl is not None and self.objective.kl.coefficient == 0:
            raise ValueError(
                f"collapse.kl: {self.collapse.kl} is never reached because objective.kl.coefficient 0 loads "
                "no reference; give a coefficient, or leave collapse.kl out"
            )
        return self

    @model_validator(mode="after")
    def _advantages(self) -> "RLStage":
        check_advantages(
            self.critic,
            self.steps,
            self.group_size,
            self.objective,
            self.rollouts,
            self.rewards,
            self.collapse,
        )
        return self


class ReasoningRL(RLStage):
    """Stage 2: RL on problems with verifiable answers, thinking."""

    kind: Literal["reasoning_rl"] = "reasoning_rl"


class GeneralRL(RLStage):
    """Stage 4: RL in both modes."""

    kind: Literal["general_rl"] = "general_rl"


class OffPolicy(Section):
    """SFT on the teacher's replies."""

    problems: int = Field(gt=0)
    samples: int = Field(default=1, gt=0)
    """Replies to each problem, each asked in a mode of its own."""
    only_right: bool = True
    tokens: int = Field(gt=0)
    batch_tokens: int = Field(gt=0)
    """Of an optimizer step over all processes."""
    micro_batch_tokens: int | None = Field(default=None, gt=0)
    """Most padded tokens of one forward pass on one process; None is all of the process's share."""


class OnPolicy(Section):
    """The student's own replies, its next-token distributions drawn to the teacher's."""

    steps: int = Field(gt=0)
    prompts_per_step: int = Field(gt=0)
    """Over all processes."""
    micro_batches: int = Field(default=1, gt=0)
    """Forward passes that a process's share of a step is divided into."""
    beta: float = Field(default=1.0, ge=0, le=1)
    """Interpolates the Jensen-Shannon divergence; 0 is forward KL, 1 reverse KL (GKD, arXiv 2306.13649)."""
    temperature: float = Field(default=1.0, gt=0)
    """Of both distributions in the divergence; replies are sampled at that of `rollouts`."""
    optimizer: Optimizer | None = None
    """None is the stage's."""


class Distill(Stage):
    """Strong to weak (Qwen3 report, section 4.5): a teacher's replies, then its logits, in both modes."""

    kind: Literal["distill"] = "distill"
    teacher: Path
    modes: Modes = Modes(no_think=0.5)
    off_policy: OffPolicy | None = None
    on_policy: OnPolicy | None = None
    rollouts: Rollouts

    @model_validator(mode="after")
    def _some_phase(self) -> "Distill":
        if self.off_policy is None and self.on_policy is None:
            raise ValueError("give off_policy, on_policy or both")
        return self


class DPO(PairStage):
    """Learning from pairs of replies, of which one is better (DPO, arXiv 2305.18290, and its kin)."""

    kind: Literal["dpo"] = "dpo"
    objective: PreferenceObjective = PreferenceObjective()

    @model_validator(mode="after")
    def _measures_something(self) -> "DPO":
        if bool(self.evaluate_every) != bool(self.pairs.held_out):
            raise ValueError(
                f"evaluate_every: {self.evaluate_every} with pairs.held_out {self.pairs.held_out} measures "
                "nothing; give both, or neither"
            )
        return self


TrainedStage = ColdStart | ReasoningRL | Fusion | GeneralRL | Distill | DPO | RewardModelStage
AnyStage = Annotated[TrainedStage | Average, Field(discriminator="kind")]
