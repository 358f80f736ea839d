"""Sampling parameters of a request that goes on as another one."""

import copy
from collections import Counter
from collections.abc import Sequence

from vllm.sampling_params import SamplingParams

from serve.segments import BARRED


def with_earlier_penalties(params: SamplingParams, reply: Sequence[int]) -> SamplingParams:
    """A copy whose frequency and presence penalties count the reply so far, which vLLM takes for prompt.

    The presence penalty is wholly in the bias then: a token that is new after `reply` may repeat freely.
    """
    if not params.frequency_penalty and not params.presence_penalty:
        return params
    params = copy.copy(params)
    bias = dict(params.logit_bias or {})
    for token, times in Counter(reply).items():
        penalty = params.frequency_penalty * times + params.presence_penalty
        bias[token] = bias.get(token, 0.0) - penalty
    params.logit_bias, params.presence_penalty = bias, 0.0
    return params


def with_barred(params: SamplingParams, token: int) -> SamplingParams:
    """A copy that cannot sample a token."""
    params = copy.copy(params)
    params.logit_bias = {**(params.logit_bias or {}), token: BARRED}
    return params


def has_stops(params: SamplingParams) -> bool:
    """Whether something but the end of a turn ends the answer. It must not end thinking."""
    return bool(params.stop or params.stop_token_ids)
