"""`ThinkingEngine`: vLLM's `AsyncLLM` with thinking budgets that are exact to the token.

A reply is generated in *segments*, each an ordinary vLLM request. The first is the request itself; a
`ThinkingTracker` watches its tokens. If thinking ends within the budget nothing more happens: a natural
finish is one unaltered vLLM request. At the first token that the budget forbids the segment is dropped from
that token on, and the next one starts from prompt + kept tokens + early-stop text, all as token ids; the
prefix is in the KV cache, so that costs one short prefill. The caller sees one continuous stream.

A request whose answer has stop strings gets a segment for its thinking (up to the close tag, without them)
and one for its answer.

Nothing runs inside the model's sampling, so one code path is exact for every backend, runner and parallelism.
"""

import copy
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from vllm.logprobs import Logprob
from vllm.outputs import RequestOutput
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.utils.async_utils import merge_async_iterators
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.detokenizer import IncrementalDetokenizer

from serve.budget import ThinkingBudget
from serve.deltas import Delta, add_to, delta_of, empty_output, request_output, stopped_by_token, truncate
from serve.formats import ThinkingFormat, load_format
from serve.trace import LiveThinking, ThinkingTracker, prompt_state

THINKING_ARG = "thinking"
"""Member of `SamplingParams.extra_args` with the request's `ThinkingBudget` as JSON."""

BARRED = -100.0
"""Logit bias of an open tag that may not be written again."""

LIVE: ContextVar[LiveThinking | None] = ContextVar("live_thinking", default=None)
"""Where `generate` leaves the trackers of its choices, if the caller has set it."""


@dataclass(slots=True)
class Choice:
    """One choice of a budgeted request, and what is the same for all its segments."""

    index: int
    prompt: dict[str, Any]
    params: SamplingParams
    request_id: str
    tracker: ThinkingTracker
    stop_ids: tuple[int, ...]
    max_tokens: int
    options: dict[str, Any]


class ThinkingEngine(AsyncLLM):
    """`AsyncLLM` whose `generate` honours thinking budgets.

    A request asks by `extra_args["thinking"]`, a `ThinkingBudget` as JSON, or by vLLM's own
    `SamplingParams.thinking_token_budget`. `default_thinking` is for HTTP requests that ask for nothing.
    Each finished `CompletionOutput` carries its `ThinkingReport` as `.thinking`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._next_rank = count()
        self._form: ThinkingFormat | None = None
        self.default_thinking = ThinkingBudget()

    @property
    def thinking_format(self) -> ThinkingFormat:
        """The served model's format; set it to override what the checkpoint says."""
        if self._form is None:
            self._form = load_format(self.renderer.tokenizer, Path(self.model_config.model))
        return self._form

    @thinking_format.setter
    def thinking_format(self, form: ThinkingFormat) -> None:
        self._form = form

    async def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **options: Any
    ) -> AsyncGenerator[RequestOutput, None]:
        """As `AsyncLLM.generate`. Raises ValueError for a budget on a prompt without token ids."""
        form = self.thinking_format
        params, budget, stop_ids = self._take_budget(sampling_params)
        prompt = await self._with_ids(prompt)
        ids = prompt.get("prompt_token_ids") if isinstance(prompt, dict) else None
        if ids is None or prompt["type"] not in ("token", "multimodal"):
            if budget is not None:
                raise ValueError("thinking_token_budget needs a prompt that is text or token ids")
            async for output in super().generate(prompt, params, request_id, **options):
                yield output
            return

        if budget == 0:
            prompt = self._thinking_off(prompt)
            ids = prompt["prompt_token_ids"]
            params = self._bar_open_tag(params)
        state = prompt_state(ids, form)
        trackers = [ThinkingTracker(form, state, budget) for _ in range(params.n)]
        if (live := LIVE.get()) is not None:
            live.trackers.update({(request_id, index): tracker for index, tracker in enumerate(trackers)})

        room = self.model_config.max_model_len - len(ids)
        max_tokens = room if params.max_tokens is None else min(params.max_tokens, room)
        # Thinking that ends with the reply needs no cut: the budget cannot bind.
        if not budget or budget + (state != "thinking") >= max_tokens:
            stream = self._watched(prompt, params, request_id, trackers, options)
        else:
            choices = [
                Choice(
                    index=index,
                    prompt=prompt,
                    params=self._choice_params(params, index),
                    request_id=request_id if params.n == 1 else f"{request_id}.{index}",
                    tracker=tracker,
                    stop_ids=stop_ids,
                    max_tokens=max_tokens,
                    options=self._pin_rank(options),
                )
                for index, tracker in enumerate(trackers)
            ]
            stream = self._joined(choices, request_id, params.output_kind)
        async with aclosing(stream):
            async for output in stream:
                yield output

    # -- one vLLM request, only watched ----------------------------------------------------------------------

    async def _watched(
        self,
        prompt: dict[str, Any],
        params: SamplingParams,
        request_id: str,
        trackers: list[ThinkingTracker],
        options: dict[str, Any],
    ) -> AsyncGenerator[RequestOutput, None]:
        """The request as it is, with reports."""
        seen = [0] * len(trackers)
        delta = params.output_kind == RequestOutputKind.DELTA
        async with aclosing(super().generate(prompt, params, request_id, **options)) as stream:
            async for output in stream:
                for choice in output.outputs:
                    tracker = trackers[choice.index]
                    new = choice.token_ids if delta else choice.token_ids[seen[choice.index] :]
                    seen[choice.index] += len(new)
                    tracker.feed(new, stopped=stopped_by_token(choice))
                    if choice.finish_reason is not None:
                        choice.thinking = tracker.finish(choice.finish_reason)
                yield output

    # -- budgeted choices ------------------------------------------------------------------------------------

    async def _joined(
        self, choices: list[Choice], request_id: str, kind: RequestOutputKind
    ) -> AsyncGenerator[RequestOutput, None]:
        """The choices' deltas as one stream of the caller's output kind."""
        totals = [empty_output(choice.index) for choice in choices]
        open_choices = len(choices)
        # With vLLM's merge the streams of all choices are closed when this one is.
        async with aclosing(merge_async_iterators(*map(self._segments, choices))) as merged:
            async for index, delta in merged:
                total = totals[index]
                shown = empty_output(index) if kind == RequestOutputKind.DELTA else total
                add_to(shown, delta)
                if kind != RequestOutputKind.DELTA:
                    shown = copy.copy(total)
                if delta.finish_reason is not None:
                    open_choices -= 1
                    shown.finish_reason = total.finish_reason = delta.finish_reason
                    shown.stop_reason = total.stop_reason = delta.stop_reason
                    report = choices[index].tracker.finish(delta.finish_reason)
                    shown.thinking = total.thinking = report
                outputs = [shown]
                if kind == RequestOutputKind.FINAL_ONLY:
                    if open_choices:
                        continue
                    outputs = totals
                yield request_output(
                    delta.source, choices[index].prompt, request_id, outputs, open_choices == 0
                )

    async def _segments(self, choice: Choice) -> AsyncGenerator[Delta, None]:
        """Deltas of one choice: think until the budget forbids a token, insert, answer."""
        tracker, params = choice.tracker, choice.params
        reply: list[int] = []
        barred = False
        for number in count():
            prompt, segment = self._segment(choice, reply, number, barred)
            kept: list[int] = []
            text = ""
            limit: int | None = None
            async with aclosing(super().generate(prompt, segment.params, **segment.options)) as stream:
                async for output in stream:
                    delta = delta_of(output)
                    limit = tracker.feed(
                        delta.token_ids,
                        stopped=stopped_by_token(output.outputs[0]),
                        until_open=_has_stops(params),
                    )
                    if limit is not None:
                        break
                    closed = segment.thinks and delta.stop_reason == self.thinking_format.close_id
                    if closed:
                        # The segment ended at the close tag only so that the answer gets its stop strings.
                        delta.text += self.thinking_format.close
                        delta.finish_reason = delta.stop_reason = None
                        if len(reply) + len(delta.token_ids) >= choice.max_tokens:
                            delta.finish_reason = "length"
                    reply += delta.token_ids
                    kept += delta.token_ids
                    text += delta.text
                    yield delta
                    if delta.finish_reason is not None:
                        return
            if limit is None:
                continue

            # What comes before the forbidden token stays, or an open tag whose block needs its own segment.
            kept += delta.token_ids[:limit]
            reply += delta.token_ids[:limit]
            truncate(delta, limit, self._text(prompt, kept, segment.params)[len(text) :])
            room = choice.max_tokens - len(reply)
            if tracker.spent:
                barred = True
                if tracker.in_block:
                    room -= len(choice.stop_ids)
                    if room > 0:
                        self._insert(delta, choice.stop_ids, params)
                        reply += choice.stop_ids
                        tracker.close(len(choice.stop_ids))
            if room <= 0:
                delta.finish_reason = "length"
            if delta.token_ids or delta.finish_reason:
                yield delta
            if delta.finish_reason:
                return

    def _segment(
        self, choice: Choice, reply: list[int], number: int, barred: bool
    ) -> tuple[dict[str, Any], "_Segment"]:
        """The vLLM request that continues `reply`."""
        tracker = choice.tracker
        params = copy.copy(choice.params)
        options = dict(
            choice.options, request_id=f"{choice.request_id}.{number}" if number else choice.request_id
        )
        prompt = dict(choice.prompt, prompt_token_ids=[*choice.prompt["prompt_token_ids"], *reply])
        params.max_tokens = choice.max_tokens - len(reply)
        if params.output_kind != RequestOutputKind.FINAL_ONLY:
            params.output_kind = RequestOutputKind.DELTA
        elif not barred:
            # Nobody reads the tokens before the decision: ask for the first, then the one past the budget.
            params.output_kind = RequestOutputKind.DELTA
            params.stream_interval = max(1, tracker.left + (not tracker.in_block))

        thinks = tracker.in_block and _has_stops(params)
        if thinks:
            params.stop = []
            params.stop_token_ids = [self.thinking_format.close_id]
            params._all_stop_token_ids = set(params.stop_token_ids)
            params.structured_outputs = None
            params.min_tokens = 0
        if number:
            params.min_tokens = max(0, params.min_tokens - len(reply))
            params.prompt_logprobs = None
            if params.seed is not None:
                params.seed = random.Random(f"{choice.params.seed}/{number}").getrandbits(63)
            if barred:
                params = self._bar_open_tag(params)
            if not tracker.in_block:
                options["reasoning_ended"] = True
            if self.scheduler_config.policy == "priority":
                # Ahead of new requests: its prefix is in the cache now.
                options["priority"] = options.get("priority", 0) - 1
        return prompt, _Segment(params, options, thinks)

    def _insert(self, delta: Delta, ids: tuple[int, ...], params: SamplingParams) -> None:
        """Add inserted ids to a delta; their log-probability is 0, as they were not chosen."""
        delta.token_ids += ids
        if params.detokenize:
            delta.text += self.thinking_format.decode(ids, skip_special_tokens=params.skip_special_tokens)
        if delta.logprobs is not None:
            delta.logprobs += [
                {i: Logprob(0.0, decoded_token=self.thinking_format.decode((i,), skip_special_tokens=False))}
                for i in ids
            ]

    def _text(self, prompt: dict[str, Any], token_ids: list[int], params: SamplingParams) -> str:
        """Text of a segment's first tokens; a character that they leave incomplete is left out."""
        if not params.detokenize:
            return ""
        request = EngineCoreRequest(
            request_id="",
            prompt_token_ids=prompt["prompt_token_ids"],
            mm_features=None,
            sampling_params=params,
            pooling_params=None,
            arrival_time=0.0,
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
        )
        detokenizer = IncrementalDetokenizer.from_new_request(self.renderer.tokenizer, request)
        detokenizer.update(token_ids, stop_terminated=False)
        return detokenizer.get_next_output_text(finished=True, delta=False)

    # -- requests --------------------------------------------------------------------------------------------

    def _take_budget(self, params: SamplingParams) -> tuple[SamplingParams, int | None, tuple[int, ...]]:
        """The parameters for vLLM, without ours, and the budget and early-stop ids."""
        extra = dict(params.extra_args or {})
        asked = extra.pop(THINKING_ARG, None)
        form = self.thinking_format
        if asked is None and params.thinking_token_budget is None:
            return params, None, form.stop_ids
        thinking = (
            ThinkingBudget(params.thinking_token_budget) if asked is None else ThinkingBudget.loads(asked)
        )
        stop_ids = form.stop_ids if thinking.stop_text is None else form.encode_stop_text(thinking.stop_text)
        budget = thinking.budget
        params = copy.copy(params)
        params.thinking_token_budget = None
        params.extra_args = extra or None
        return params, budget, stop_ids

    async def _with_ids(self, prompt: Any) -> Any:
        """A raw prompt (text or ids) rendered to vLLM's engine input; others as they are."""
        if isinstance(prompt, str) or (isinstance(prompt, dict) and "type" not in prompt):
            parsed = parse_model_prompt(self.model_config, prompt)
            (prompt,) = await self.renderer.render_cmpl_async([parsed], self.renderer.default_cmpl_tok_params)
        return prompt

    def _thinking_off(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """The prompt with thinking closed, by the empty block unless its template has done so."""
        form = self.thinking_format
        state = prompt_state(prompt["prompt_token_ids"], form)
        if state == "thinking":
            return dict(prompt, prompt_token_ids=[*prompt["prompt_token_ids"], *form.close_block_ids])
        if state == "fresh":
            return dict(prompt, prompt_token_ids=[*prompt["prompt_token_ids"], *form.empty_block_ids])
        return prompt

    def _bar_open_tag(self, params: SamplingParams) -> SamplingParams:
        params = copy.copy(params)
        params.logit_bias = {**(params.logit_bias or {}), self.thinking_format.open_id: BARRED}
        return params

    def _choice_params(self, params: SamplingParams, index: int) -> SamplingParams:
        """Parameters of one choice, seeded as vLLM seeds the choices of n > 1."""
        params = copy.copy(params)
        params.n = 1
        if params.seed is not None:
            params.seed += index
        return params

    def _pin_rank(self, options: dict[str, Any]) -> dict[str, Any]:
        """One data-parallel rank for all segments of a choice, so that its prefix is in that rank's cache."""
        ranks = self.vllm_config.parallel_config.data_parallel_size
        if ranks > 1 and options.get("data_parallel_rank") is None:
            return dict(options, data_parallel_rank=next(self._next_rank) % ranks)
        return options


@dataclass(slots=True)
class _Segment:
    """A vLLM request; `thinks` if it must end at the close tag."""

    params: SamplingParams
    options: dict[str, Any]
    thinks: bool


def _has_stops(params: SamplingParams) -> bool:
    """Whether something but the end of a turn ends the answer. It must not end thinking."""
    return bool(params.stop or params.stop_token_ids)
