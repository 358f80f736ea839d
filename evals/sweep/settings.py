"""What a sweep is asked to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evals.account import Prices
from evals.budgets import Budget, axis_of
from evals.problems import Problem
from evals.problems.prompts import preset_of
from evals.sweep.dialects import Dialect
from evals.sweep.endpoint import Endpoint
from evals.sweep.presets import QWEN3, Sampling

Mode = Literal["forked", "direct"]
Logprobs = int | Literal["auto", "off"]

MOST_ALTERNATIVES = 20
"""OpenAI's and vLLM's limit on alternatives at a token."""

CONFIDENCE_PROMPT = (
    "How likely is it that your answer above is correct? "
    "Reply with one whole number from 0 (certainly wrong) to 100 (certainly correct) and nothing else."
)


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """A budget sweep.

    problems: problem sets by name or JSONL path; limit: the first so many of each, None for all.
    prompt: a preset, template or file, see `evals.problems.prompts.preset_of`; None for each set's own.
    budgets: of one axis, see `evals.budgets`; 0 is thinking off, "max" no limit.
    samples: replies for each problem and budget.
    mode: "forked" answers every budget from one trace; "direct" asks the server for each budget.
    sampling: see `evals.sweep.presets`. max_tokens: most tokens of a reply, None for what the context holds.
    seed: of sampling and of what `crosscheck` picks. concurrency: requests in flight.
    dialect: a name in `evals.sweep.dialects`, or "auto".
    logprobs: alternatives stored for each token; 0 is the token's own probability, "off" nothing, and "auto"
        is 0 where the server is ours.
    confidence: after each reply, ask in a turn of its own how sure the model is of it.
    crosscheck: in forked mode, the share of points that are drawn directly too.
    retries: further attempts at a request that failed for a reason that may pass.
    prices: of the account, None where nothing is paid for.
    reuse: another run's directory, of whose uncut traces and replies without thinking those are copied that
        this sweep would draw with the same settings.
    Raises ValueError naming the field that is wrong.
    """

    problems: str | tuple[str, ...]
    out: Path
    budgets: tuple[Budget, ...]
    limit: int | None = None
    prompt: str | None = None
    samples: int = 1
    mode: Mode = "forked"
    sampling: Sampling = QWEN3
    max_tokens: int | None = None
    seed: int = 0
    concurrency: int = 16
    dialect: str = "auto"
    logprobs: Logprobs = "auto"
    confidence: bool = False
    crosscheck: float = 0.0
    retries: int = 5
    prices: Prices | None = None
    reuse: Path | None = None

    def __post_init__(self) -> None:
        if not self.budgets:
            raise ValueError("budgets: none given; give at least one, e.g. 0,8,16,32,64,max")
        if len(set(self.budgets)) < len(self.budgets):
            raise ValueError(f"budgets: {', '.join(map(str, self.budgets))} repeats one; give each once")
        axis = axis_of(self.budgets)
        if self.mode not in ("forked", "direct"):
            raise ValueError(f"mode: {self.mode!r} is not a mode; it is forked or direct")
        if self.mode == "direct" and axis == "share":
            raise ValueError(
                f"mode: direct cannot measure {', '.join(map(str, self.budgets))}; how long a reply "
                "thinks is known when it has ended: give --mode forked"
            )
        if self.mode == "forked" and axis not in ("tokens", "share"):
            raise ValueError(
                f"mode: forked cannot measure {', '.join(map(str, self.budgets))}; the {axis} axis is part "
                "of the prompt, so no trace can be cut for it: give --mode direct"
            )
        for name in ("samples", "concurrency"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is too few; give 1 or more")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens: {self.max_tokens} is too few; give 1 or more")
        if self.retries < 0:
            raise ValueError(f"retries: {self.retries} is negative; 0 turns them off")
        if self.logprobs not in ("auto", "off") and not 0 <= int(self.logprobs) <= MOST_ALTERNATIVES:
            raise ValueError(
                f"logprobs: {self.logprobs} is not in 0 to {MOST_ALTERNATIVES}; off stores no probabilities"
            )
        if not 0 <= self.crosscheck <= 1:
            raise ValueError(f"crosscheck: {self.crosscheck} is no share; give 0 to 1, e.g. 0.1")
        if self.crosscheck and self.mode == "direct":
            raise ValueError(
                f"crosscheck: {self.crosscheck} of a direct run would be drawn the same way twice; it is for "
                "--mode forked"
            )
        if self.crosscheck and axis == "share":
            raise ValueError(
                f"crosscheck: {self.crosscheck} of shares of the natural length cannot be asked of a server; "
                "give budgets in tokens"
            )
        if self.samples > 1 and self.sampling.greedy:
            raise ValueError(
                f"samples: {self.samples} at temperature 0 would be one reply {self.samples} times; "
                "give a temperature above 0, or 1 sample"
            )

    @property
    def problem_sets(self) -> list[str]:
        return [self.problems] if isinstance(self.problems, str) else list(self.problems)

    def alternatives(self, dialect: Dialect) -> int | None:
        """How many alternatives are asked at each token; None for no log probabilities at all."""
        if self.logprobs == "auto":
            return 0 if dialect.name == "thinkdial" else None
        return None if self.logprobs == "off" else self.logprobs

    def stored(self, endpoint: Endpoint, dialect: Dialect, problems: Iterable[Problem]) -> dict[str, Any]:
        """What the replies depend on, as the manifest keeps it. A resumed run has the same."""
        presets = {name: preset_of(name, self.prompt) for name in sorted({p.set for p in problems})}
        return {
            "problems": self.problem_sets,
            "prompt": {
                name: {"preset": preset.name, "template": preset.template} for name, preset in presets.items()
            },
            "model": endpoint.model,
            "max_model_len": endpoint.max_model_len,
            "mode": self.mode,
            "axis": axis_of(self.budgets),
            "dialect": dialect.name,
            "thinking_format": endpoint.thinking_settings(),
            "sampling": {**self.sampling.to_json(), "max_tokens": self.max_tokens, "seed": self.seed},
            "logprobs": self.alternatives(dialect),
            "confidence_prompt": CONFIDENCE_PROMPT,
        }
