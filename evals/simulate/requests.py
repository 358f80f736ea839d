"""What a simulated engine is given, and what comes out of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

DECODING, WAITING, DONE = "decoding", "waiting", "done"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of an engine, under vLLM's names for its flags. kv_blocks: of `block_size` tokens each."""

    max_num_seqs: int
    max_batched_tokens: int
    kv_blocks: int
    block_size: int = 16


@dataclass(frozen=True, slots=True)
class Format:
    """Tokens of a model's thinking that are not thinking: the two tags where the model writes them, the
    early-stop text, and the empty block of a reply without thinking (inserted, as part of the prompt)."""

    open_tokens: int = 1
    close_tokens: int = 1
    stop_tokens: int = 27
    empty_tokens: int = 4


@dataclass(slots=True)
class Request:
    """One request and what becomes of it; times in seconds.

    thinking: tokens it would think by itself. answer: tokens after the thinking, end of turn included.
    budget: None is no limit.
    """

    arrived: float
    prompt: int
    thinking: int
    answer: int
    budget: int | None = None
    first_token: float = math.nan
    ended: float = math.nan
    made: int = 0
    restarts: int = 0
    # Of the part that runs: tokens to compute, tokens cached, tokens to make, whether another part follows.
    to_compute: int = 0
    cached: int = 0
    blocks: int = 0
    to_make: int = 0
    end_step: int = 0
    last_part: bool = True
    resumed: bool = False
    state: str = field(default=WAITING)

    @property
    def cut(self) -> bool:
        return self.budget is not None and self.budget != 0 and self.thinking > self.budget

    @property
    def tokens(self) -> int:
        """Thinking tokens that its reply holds."""
        return self.thinking if self.budget is None else min(self.thinking, self.budget)

    @property
    def seconds(self) -> float:
        return self.ended - self.arrived


@dataclass(frozen=True, slots=True)
class Outcome:
    """A simulated stretch. made: tokens that the model made, those looked at past a budget too. computed:
    prompt tokens. seconds: until the last reply ended. peak_blocks: of the KV cache. restarts: requests that
    lost their cache. mean_running: requests that decode, over the time in which something ran."""

    requests: Sequence[Request]
    form: Format
    seconds: float
    busy: float
    steps: int
    made: int
    computed: int
    peak_blocks: int
    restarts: int
    mean_running: float

    @property
    def streamed(self) -> int:
        """Tokens that clients get: what was looked at past a budget is dropped, the early-stop text added."""
        cuts = sum(request.cut for request in self.requests)
        return self.made + cuts * (self.form.stop_tokens - 1)
