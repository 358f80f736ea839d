"""The limited choices of a request, and their pieces as the one stream that its caller asked for."""

import copy
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.utils.async_utils import merge_async_iterators

from serve.choice import LimitedChoice
from serve.deltas import add_to, empty_output, request_output
from serve.job import Job

if TYPE_CHECKING:
    from serve.engine import ThinkingEngine


def limited_choice(engine: "ThinkingEngine", job: Job, index: int) -> LimitedChoice:
    """Choice `index` of a request, to be generated with its limits."""
    params = copy.copy(job.params)
    params.n = 1
    if params.seed is not None:
        params.seed += index  # as vLLM seeds the choices of n > 1
    return LimitedChoice(
        engine,
        index,
        job.prompt,
        params,
        job.request_id if job.params.n == 1 else f"{job.request_id}.{index}",
        job.trackers[index],
        stop_ids=job.stop_ids,
        wait_ids=engine.form.encode_wait_text(job.asked.wait_text) if job.asked.min_tokens else (),
        max_tokens=job.max_tokens,
        options=job.options,
    )


def limited(engine: "ThinkingEngine", job: Job) -> AsyncGenerator[RequestOutput, None]:
    """The reply to a request whose limits can bind."""
    choices = [limited_choice(engine, job, index) for index in range(job.params.n)]
    return joined(engine, job, choices, [empty_output(index) for index in range(job.params.n)])


async def joined(
    engine: "ThinkingEngine", job: Job, choices: list[LimitedChoice], totals: list[CompletionOutput]
) -> AsyncGenerator[RequestOutput, None]:
    """The choices' pieces as one stream of the caller's output kind. totals: what each begins with."""
    kind = job.params.output_kind
    delta = kind == RequestOutputKind.DELTA
    running = {choice.index: choice for choice in choices}
    first: RequestOutput | None = None
    # With vLLM's merge the streams of all choices are closed when this one is.
    streams = merge_async_iterators(*(choice.deltas() for choice in choices))
    async with aclosing(streams) as merged:
        async for position, piece in merged:
            choice = choices[position]
            if first is None and piece.source is not None:
                told = piece.source.prompt_logprobs is not None
                first = piece.source if told or job.params.prompt_logprobs is None else None
            if job.hides_logprobs:
                piece.logprobs = None
            shown = empty_output(choice.index) if delta else totals[choice.index]
            add_to(shown, piece)
            if piece.finish_reason is not None:
                del running[choice.index]
                metrics = None if piece.source is None else piece.source.metrics
                shown.finish_reason, shown.stop_reason = piece.finish_reason, piece.stop_reason
                shown.thinking = engine.finish(choice.tracker, piece.finish_reason, metrics)
            if kind == RequestOutputKind.FINAL_ONLY and running:
                continue
            outputs = totals if kind == RequestOutputKind.FINAL_ONLY else [copy.copy(shown)]
            yield request_output(
                piece.source,
                first,
                job.prompt,
                job.request_id,
                outputs,
                not running,
                cumulative=not delta,
            )
