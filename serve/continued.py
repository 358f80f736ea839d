"""The vLLM requests of a limited choice: the first, and those with which its reply goes on."""

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vllm.sampling_params import RequestOutputKind, SamplingParams

from serve.parameters import has_stops, with_barred, with_earlier_penalties
from serve.segments import continued_seed

if TYPE_CHECKING:
    from serve.choice import LimitedChoice


@dataclass(slots=True)
class Segment:
    """A vLLM request of a choice, and what it has added to the reply so far.

    thinks: it ends at the close tag, because the answer has stop strings that must not end thinking.
    """

    prompt: dict[str, Any]
    params: SamplingParams
    request_id: str
    options: dict[str, Any]
    thinks: bool = False
    kept: list[int] = field(default_factory=list)
    text: str = ""


def next_segment(
    choice: "LimitedChoice", reply: list[int], number: int, *, in_block: bool, hold_open: int
) -> Segment:
    """The vLLM request that continues `reply`, the choice's segment `number`.

    in_block: the reply leaves a block open. hold_open: tokens for which it may not be closed.
    """
    tracker, form = choice.tracker, choice.form
    params = copy.copy(choice.params)
    request_id = f"{choice.request_id}.{number}" if number else choice.request_id
    options = dict(choice.options)
    prompt = dict(choice.prompt, prompt_token_ids=[*choice.prompt["prompt_token_ids"], *reply])
    params.max_tokens = choice.max_tokens - len(reply)
    streams = params.output_kind != RequestOutputKind.FINAL_ONLY
    if streams or not tracker.spent:
        params.output_kind = RequestOutputKind.DELTA
    if not streams and not tracker.spent and not tracker.judges_tokens:
        # Nobody reads the tokens before the decision: ask for the first, then the one past the budget.
        limit = choice.max_tokens if tracker.left is None else tracker.left
        params.stream_interval = limit + (not in_block)
    if tracker.entropy is not None and not tracker.spent:
        params = choice.engine.with_measures(params)
    thinks = in_block and (has_stops(params) or hold_open > 0)
    if number:
        params.min_tokens = max(0, params.min_tokens - len(reply))
        if len(reply) > tracker.inserted:
            params.prompt_logprobs = None  # told with the first token
        params = with_earlier_penalties(params, reply)
        if params.seed is not None:
            params.seed = continued_seed(choice.params.seed, len(reply))
        if tracker.spent:
            params = with_barred(params, form.open_id)
        if not in_block:
            options["reasoning_ended"] = True
        options = choice.engine.ahead_of_new(options)
    if thinks:
        params.stop = []
        params.stop_token_ids = sorted(form.end_ids)
        params._all_stop_token_ids = set(params.stop_token_ids)
        params.structured_outputs = None
        params.min_tokens = min(hold_open, params.max_tokens)
    # The engine process decodes them without mercy: a wrong member would end its input thread.
    params._verify_args()
    return Segment(prompt, params, request_id, options, thinks)
