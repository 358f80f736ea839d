"""What a sweep is asked to do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evals.budgets import Budget

Mode = Literal["forked", "direct"]


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """A budget sweep.

    problems: a problem set's name or a JSONL path; limit: the first so many, None for all.
    budgets: thinking tokens; 0 is thinking off, "max" no limit. samples: replies for each problem and budget.
    mode: "forked" answers every budget from one trace; "direct" asks the server for each budget.
    temperature 0 decodes greedily. max_tokens: most tokens of a reply, None for what the context holds.
    seed: of sampling; unused when decoding is greedy. concurrency: requests in flight.
    Raises ValueError naming the field that is wrong.
    """

    problems: str
    out: Path
    budgets: tuple[Budget, ...]
    limit: int | None = None
    samples: int = 1
    mode: Mode = "forked"
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int | None = None
    seed: int = 0
    concurrency: int = 16

    def __post_init__(self) -> None:
        if not self.budgets:
            raise ValueError("budgets: none given; give at least one, e.g. 0,8,16,32,64,max")
        if self.mode not in ("forked", "direct"):
            raise ValueError(f"mode: {self.mode!r} is not a mode; it is forked or direct")
        for name in ("samples", "concurrency"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is too few; give 1 or more")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens: {self.max_tokens} is too few; give 1 or more")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature: {self.temperature} is not a temperature; give 0 or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: {self.top_p} is not in (0, 1]; 1 turns it off")
        if self.top_k < 0:
            raise ValueError(f"top_k: {self.top_k} is negative; 0 turns it off")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"samples: {self.samples} at temperature 0 would be one reply {self.samples} times; "
                "give a temperature above 0, or 1 sample"
            )

    def sampling(self) -> dict[str, Any]:
        """The sampling parameters as the store keeps them."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }
