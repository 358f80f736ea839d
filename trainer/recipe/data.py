"""Where a stage's problems come from, and which of them are kept."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from trainer.recipe.section import Section


class Source(Section):
    """Problems, with worked replies where the source has them. Several sources are mixed by `weight`."""

    kind: Literal["thinkmath", "jsonl", "problems", "reasoning_gym", "hub"]
    """`problems`: a set `evals.problems.load` knows. `hub`: any data set of `datasets`, by name or folder."""
    name: str = ""
    """The set's name, the reasoning-gym task, or the hub id; unused for thinkmath and jsonl."""
    path: Path | None = None
    """The JSONL file, or a local copy of the hub's data set."""
    split: str = "train"
    limit: int | None = Field(default=None, gt=0)
    """At most this many problems; thinkmath and reasoning-gym are endless without one."""
    weight: float = Field(default=1.0, gt=0)
    columns: dict[str, str] = {}
    """Names of `problem`, `answer`, `thinking`, `response`, `messages`, `level`, `subject` and `id` there."""
    levels: dict[int, float] | None = None
    """thinkmath: how often each level is drawn; None is evenly."""
    options: dict[str, Any] = {}
    """reasoning-gym: the task's own configuration."""

    @model_validator(mode="after")
    def _named(self) -> "Source":
        if self.kind in ("problems", "reasoning_gym", "hub") and not (self.name or self.path):
            raise ValueError(f"kind {self.kind!r} needs a name")
        if self.kind == "jsonl" and self.path is None:
            raise ValueError("kind 'jsonl' needs a path")
        return self


class RowMix(Section):
    """What rows a fusion stage is made of: shares of the modes, and how they are switched."""

    think: float = Field(default=0.5, ge=0)
    no_think: float = Field(default=0.5, ge=0)
    """Share of rows without thinking."""
    no_think_branches: bool = False
    """Every think row has a branch that answers without thinking, at the price of its answer's tokens."""
    no_think_levels: dict[int, float] | None = None
    """How often rows without thinking are of each level; None is as the sources say."""
    cuts: int = Field(default=0, ge=0)
    """Branches of a think row whose thinking is cut as the server cuts it; 0 is the Qwen3 report's fusion."""
    answer_weight: float = Field(default=1.0, gt=0)
    """Loss weight of the boxed answer after a cut or without thinking; other trained tokens weigh 1."""
    flagged: float = Field(default=0.5, ge=0, le=1)
    """Share of rows with `/think` or `/no_think`; the others without thinking use the hard switch."""
    in_system: float = Field(default=0.3, ge=0, le=1)
    """Share of the flags that stand in the system turn instead of the user's."""
    multi_turn: float = Field(default=0.15, ge=0, le=1)
    """Share of rows with earlier turns, whose flags may differ; the last one wins."""
    system_prompts: list[str] = []
    """System prompts drawn for a fifth of the rows; [] is none."""
