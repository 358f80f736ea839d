"""What is asked of a rollout backend, and what it gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class RolloutRequest:
    """One reply to sample.

    prompt_ids: the rendered prompt. budget: the most thinking tokens, None for no limit; 0 is asked by the
    prompt (the template's empty block), not here. max_tokens: of the whole reply, inserted tokens included.
    answer_tokens: the part of max_tokens that thinking may not use. seed: of this reply alone.
    begun: the reply so far, where an earlier call left it unfinished.
    """

    prompt_ids: tuple[int, ...]
    max_tokens: int
    seed: int
    budget: int | None = None
    answer_tokens: int = 0
    begun: "Rollout | None" = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """One reply.

    token_ids: the whole reply, inserted tokens included, with the end-of-turn token where it ended by itself.
    logprobs: natural log of each token's probability in the distribution it was sampled from (after
    temperature and top-p, without a barred tag), 0.0 for inserted ones; as long as token_ids.
    inserted: whether each token was inserted and not sampled; as long as token_ids.
    versions: the weights' version each token was sampled with; as long as token_ids.
    thinking_tokens: tokens sampled between the tags. stop_cause: why thinking ended, in the server's words
    (`natural`, `budget`, `length`), or `disabled` when the reply has none.
    finish_reason: `stop`, `length`, or `unfinished` (tokens_per_call reached: to be continued).
    """

    request: RolloutRequest
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    inserted: tuple[bool, ...]
    versions: tuple[int, ...]
    thinking_tokens: int
    stop_cause: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. temperature 0 is greedy (measurements only); top_p 1.0 is all the vocabulary."""

    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a weight sync cost (seconds) and showed: largest and mean |difference| in nats on the probe."""

    version: int
    seconds: float
    probe_max: float
    probe_mean: float


class SyncError(RuntimeError):
    """After a weight sync the backend's log-probabilities of the probe are not the trainer's."""


class ServerError(RuntimeError):
    """A rollout server is gone, or refuses what it is asked; the message names it."""


class RolloutBackend(Protocol):
    """Samples replies from the newest weights it was given."""

    def generate(
        self, requests: Sequence[RolloutRequest], sampling: Sampling, tokens_per_call: int | None = None
    ) -> list[Rollout]:
        """Replies in the order of `requests`; with tokens_per_call, some may be `unfinished`."""
        ...

    def sync(self, model: PreTrainedModel, version: int) -> SyncReport:
        """Take over the model's weights, drop what was cached from older ones, and verify with the probe.

        Raises SyncError when the probe's log-probabilities differ by more than the tolerance.
        """
        ...

    def close(self) -> None:
        """End engine processes and free memory."""
        ...
