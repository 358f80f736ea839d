"""What rewards, curation and reports see of a finished rollout."""

from dataclasses import dataclass

from evals.problems import Problem


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished rollout as text, with what was asked of it: all of it is in the reply or known to the user.

    thinks: whether the prompt asks for thinking. thinking: the text between the tags, None if no block was
    opened. answer: what follows the (last) block. reply: the whole of it, with tags.
    tokens: length of the reply without inserted tokens. budget, stop_cause, finish_reason: as in `Rollout`.
    """

    problem: Problem
    thinks: bool
    reply: str
    thinking: str | None
    answer: str
    tokens: int
    thinking_tokens: int
    max_tokens: int
    budget: int | None
    stop_cause: str
    finish_reason: str
