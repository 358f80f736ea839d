"""Where a stage's problems come from, and which of them are kept."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from trainer.recipe.section import Section

_MEMBERS = {
    "thinkmath": ("levels", "terse"),
    "jsonl": ("path", "columns", "think_tags"),
    "problems": ("name", "path", "split"),
    "reasoning_gym": ("name", "options"),
    "hub": ("name", "path", "split", "columns", "think_tags", "options"),
}


class Source(Section):
    """Problems, with worked replies where the source has them. Several sources are mixed by `weight`."""

    kind: Literal["thinkmath", "jsonl", "problems", "reasoning_gym", "hub"]
    """`problems`: a set `evals.problems.load` knows. `hub`: any data set of `datasets`, by name or folder."""
    name: str = ""
    """problems: a set, as `math_train[level=1-3]`; reasoning_gym: the task; hub: the hub's id."""
    path: Path | None = None
    """jsonl, problems: the JSONL file; hub: a local folder or .parquet, .jsonl, .json or .csv file.
    Where there is a `name` too, it is a copy of that set."""
    split: str = "train"
    """hub: as `datasets` names it; problems: `train`, as their evaluation splits are refused."""
    limit: int | None = Field(default=None, gt=0)
    """At most this many problems; thinkmath and reasoning-gym are endless without one."""
    weight: float = Field(default=1.0, gt=0)
    columns: dict[str, str] = {}
    """Columns of `problem`, `answer`, `thinking`, `response`, `messages`, `level`, `subject`, `chance`,
    `set`, `id`; one that is not named here has its member's name."""
    think_tags: tuple[str, str] = ("<think>", "</think>")
    """What thinking stands between where the source has it within the reply."""
    levels: dict[int, float] | None = None
    """thinkmath: how often each level is drawn; None is evenly."""
    terse: float = Field(default=0.0, ge=0, le=1)
    """thinkmath: share of examples whose thinking states results only, `7` for `3+4=7`."""
    options: dict[str, Any] = {}
    """reasoning_gym: the task's own; hub: `name` (of a configuration), `revision`, `data_dir`."""

    @model_validator(mode="after")
    def _members_of_kind(self) -> "Source":
        members = _MEMBERS[self.kind]
        given = [
            name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default
        ]
        for member in sorted(set(given) - {"kind", "limit", "weight"} - set(members)):
            raise ValueError(
                f"{member}: a source of kind {self.kind!r} has none; give {', '.join(members)}, "
                "limit or weight"
            )
        wanted = [member for member in ("name", "path") if member in members]
        if wanted and not any(getattr(self, member) for member in wanted):
            raise ValueError(f"{' or '.join(wanted)}: a source of kind {self.kind!r} needs it")
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
    late_cuts: float = Field(default=0.0, ge=0, le=1)
    """Share of the cuts that fall into the last two lines of thinking; the others fall anywhere. From deep
    cuts of a chain the answer can only be guessed, and their noise slows everything else."""
    evenly_cut: list[str] = []
    """Subjects without late cuts, as their thinking is worth something wherever it is cut."""
    answer_weight: float = Field(default=1.0, gt=0)
    """Loss weight of the boxed answer after a cut or without thinking; other trained tokens weigh 1."""
    flagged: float = Field(default=0.5, ge=0, le=1)
    """Share of rows with `/think` or `/no_think`; the others without thinking use the hard switch."""
    in_system: float = Field(default=0.3, ge=0, le=1)
    """Share of the flags that stand in the system turn instead of the user's."""
    multi_turn: float = Field(default=0.15, ge=0, le=1)
    """Share of rows with earlier turns, whose flags may differ; the last one wins."""
    overruled: float = Field(default=0.0, ge=0, le=1)
    """Share of the flags in user turns with one in the system turn before them, the same or the other."""
    system_prompts: list[str] = []
    """System prompts drawn for a fifth of the rows; [] is none."""

    @model_validator(mode="after")
    def _some_mode(self) -> "RowMix":
        if self.think + self.no_think == 0:
            raise ValueError("think and no_think are both 0; give one of them a share")
        return self
