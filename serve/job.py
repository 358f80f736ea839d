"""A request made ready: vLLM's arguments without ours, what it asks of its thinking, a tracker per choice."""

import copy
from dataclasses import dataclass
from typing import Any

from vllm.sampling_params import SamplingParams

from serve.budget import ThinkingBudget
from serve.formats import ThinkingFormat
from serve.prompts import prompt_state
from serve.trace import ThinkingTracker

THINKING_ARG = "thinking"
"""Member of `SamplingParams.extra_args` with the request's `ThinkingBudget` as JSON."""


@dataclass(frozen=True, slots=True)
class Job:
    """A request: vLLM's arguments without ours, and one tracker for each choice.

    max_tokens: most tokens of a choice. options: further arguments of `generate`.
    """

    prompt: dict[str, Any]
    params: SamplingParams
    request_id: str
    options: dict[str, Any]
    asked: ThinkingBudget
    trackers: list[ThinkingTracker]
    stop_ids: tuple[int, ...]
    max_tokens: int

    @property
    def hides_logprobs(self) -> bool:
        """Whether vLLM tells log-probabilities that the caller did not ask for."""
        return self.asked.entropy and self.params.logprobs is None

    @property
    def can_bind(self) -> bool:
        """Whether a limit of the request can change its reply."""
        tracker = self.trackers[0]
        budget = tracker.grant.budget
        if budget == 0:
            return False
        # Thinking that ends with the reply needs no cut.
        within = budget is not None and budget + (not tracker.in_block) < self.max_tokens
        return within or tracker.judges_tokens or self.asked.deadline is not None


def take_asked(params: SamplingParams) -> tuple[SamplingParams, ThinkingBudget]:
    """The parameters for vLLM, without ours, and what they ask."""
    extra = dict(params.extra_args or {})
    text = extra.pop(THINKING_ARG, None)
    if text is None and params.thinking_token_budget is None:
        return params, ThinkingBudget()
    asked = ThinkingBudget(params.thinking_token_budget) if text is None else ThinkingBudget.loads(text)
    params = copy.copy(params)
    params.thinking_token_budget = None
    params.extra_args = extra or None
    return params, asked


def thinking_off(prompt: dict[str, Any], form: ThinkingFormat) -> dict[str, Any]:
    """The prompt with thinking closed, by the empty block unless its template has done so."""
    state = prompt_state(prompt["prompt_token_ids"], form)
    if state == "thinking":
        return dict(prompt, prompt_token_ids=[*prompt["prompt_token_ids"], *form.close_block_ids])
    if state == "fresh":
        return dict(prompt, prompt_token_ids=[*prompt["prompt_token_ids"], *form.empty_block_ids])
    return prompt
