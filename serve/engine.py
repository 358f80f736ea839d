"""`ThinkingEngine`: vLLM's `AsyncLLM` with thinking budgets that are exact to the token.

A request that limits nothing is one unaltered vLLM request, only watched. A request with limits is generated
by one `LimitedChoice` for each of its choices: the first segment is the request itself, and if thinking ends
within the limits nothing more happens. The caller sees one continuous stream.

Nothing runs inside the model's sampling, so one code path is exact for every backend, runner and parallelism.
"""

import copy
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.logger import init_logger
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.utils.async_utils import merge_async_iterators

from serve import measured
from serve.budget import ConfidentStop, ThinkingBudget
from serve.choice import LimitedChoice
from serve.deltas import add_to, empty_output, request_output, stopped_by_token
from serve.entropy import EntropyTrace
from serve.formats import ThinkingFormat, find_format, no_thinking
from serve.grants import grant
from serve.interrupts import Interrupted, InterruptibleLLM, Partial
from serve.load import counted
from serve.pace import Pace
from serve.parameters import with_barred
from serve.profile import ThinkingProfile
from serve.shedding import Shedding
from serve.trace import LiveThinking, ThinkingReport, ThinkingTracker, prompt_state

logger = init_logger("vllm.thinkdial")

THINKING_ARG = "thinking"
"""Member of `SamplingParams.extra_args` with the request's `ThinkingBudget` as JSON."""

LIVE: ContextVar[LiveThinking | None] = ContextVar("live_thinking", default=None)
"""Where `generate` leaves the trackers of its choices, if the caller has set it."""


@dataclass(slots=True)
class Shown:
    """What the caller has seen of a watched choice."""

    token_ids: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    finished: bool = False


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


class ThinkingEngine(InterruptibleLLM):
    """`AsyncLLM` whose `generate` honours thinking budgets.

    A request asks by `extra_args["thinking"]`, a `ThinkingBudget` as JSON, or by vLLM's own
    `SamplingParams.thinking_token_budget`. Each finished `CompletionOutput` carries its `ThinkingReport` as
    `.thinking`.
    thinking_format: the served model's, as its checkpoint says; None if it does not think.
    default_thinking: for HTTP requests that ask for nothing. profile: the model's thinking profile, from
    which effort levels get their budgets; None without one. on_finish: called with each finished choice.
    shedding: lowers budgets under load; None does not. on_shed: called for each request that it lowers.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        measured.install(self.input_processor)
        self.thinking_format = find_format(self.renderer.tokenizer, Path(self.model_config.model))
        self.default_thinking = ThinkingBudget()
        self.profile: ThinkingProfile | None = None
        self.on_finish: Callable[[ThinkingTracker], None] | None = None
        self.shedding: Shedding | None = None
        self.on_shed: Callable[[], None] | None = None
        self.pace = Pace()

    @property
    def form(self) -> ThinkingFormat:
        """The format of a model that thinks."""
        assert self.thinking_format is not None
        return self.thinking_format

    def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **options: Any
    ) -> AsyncGenerator[RequestOutput, None]:
        """As `AsyncLLM.generate`.

        Raises VLLMValidationError for a budget on a prompt without token ids, or without room for an answer.
        """
        if isinstance(prompt, str) or (isinstance(prompt, dict) and "type" not in prompt):
            return self._rendered(prompt, sampling_params, request_id, options)
        sampling_params._validate_logprobs(self.model_config)
        params, asked = self._take_asked(sampling_params)
        if self.thinking_format is None:
            if asked not in (ThinkingBudget(), ThinkingBudget(0)):
                error = no_thinking(str(self.model_config.served_model_name))
                raise VLLMValidationError(str(error), parameter=error.param)
            return super().generate(prompt, params, request_id, **options)
        ids = prompt.get("prompt_token_ids") if isinstance(prompt, dict) else None
        if ids is None or prompt["type"] not in ("token", "multimodal"):
            if asked != ThinkingBudget():
                raise VLLMValidationError(
                    "a thinking budget needs a prompt that is text or token ids", parameter="thinking"
                )
            return super().generate(prompt, params, request_id, **options)
        job = self._job(prompt, params, request_id, asked, options)
        stream = self._limited(job) if self._can_bind(job) else self._watched(job)
        if (live := LIVE.get()) is not None and live.stop_asked:
            for tracker in job.trackers:
                tracker.stop()
        if self.shedding is None:
            return stream
        return counted(stream, self.shedding, live, job.asked, job.trackers)

    async def _rendered(
        self, prompt: Any, params: SamplingParams, request_id: str, options: dict[str, Any]
    ) -> AsyncGenerator[RequestOutput, None]:
        """The reply to a raw prompt: text or ids."""
        parsed = parse_model_prompt(self.model_config, prompt)
        (rendered,) = await self.renderer.render_cmpl_async([parsed], self.renderer.default_cmpl_tok_params)
        async with aclosing(self.generate(rendered, params, request_id, **options)) as stream:
            async for output in stream:
                yield output

    # -- what a request gets ---------------------------------------------------------------------------------

    def _take_asked(self, params: SamplingParams) -> tuple[SamplingParams, ThinkingBudget]:
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

    def _job(
        self,
        prompt: dict[str, Any],
        params: SamplingParams,
        request_id: str,
        asked: ThinkingBudget,
        options: dict[str, Any],
    ) -> Job:
        """The request with the budget it gets; its trackers are registered."""
        form, live = self.form, LIVE.get()
        if asked.entropy:
            measured.check_measurable(params, self.model_config)
        stop_ids = form.stop_ids if asked.stop_text is None else form.encode_stop_text(asked.stop_text)
        state = prompt_state(prompt["prompt_token_ids"], form)
        room = self.model_config.max_model_len - len(prompt["prompt_token_ids"])
        granted = grant(
            asked,
            max_tokens=room if params.max_tokens is None else min(params.max_tokens, room),
            room=room,
            overhead=(state != "thinking") + len(stop_ids),
            profile=self.profile,
            load=self._load_ceiling(asked),
        )
        if granted.lowered_by == "load" and self.on_shed is not None:
            self.on_shed()
        if granted.budget == 0:
            prompt = self._thinking_off(prompt)
            # A grammar binds the reply from here on, whatever vLLM saw in the prompt before.
            options = dict(options, reasoning_ended=True)
            params = with_barred(params, form.open_id)
            state = prompt_state(prompt["prompt_token_ids"], form)
            room = self.model_config.max_model_len - len(prompt["prompt_token_ids"])
            if room < 1:
                raise VLLMValidationError(
                    f"the prompt leaves {room} tokens of the context of {self.model_config.max_model_len}; "
                    "it must leave at least one for the answer, after thinking is turned off",
                    parameter="messages",
                )
        trackers = [
            ThinkingTracker(
                form,
                state,
                asked,
                granted,
                arrival=None if live is None else live.arrival,
            )
            for _ in range(params.n)
        ]
        if asked.entropy:
            exact = measured.looked_at(self.model_config) == self.model_config.get_vocab_size()
            for tracker in trackers:
                tracker.entropy = EntropyTrace(exact=exact)
        if live is not None:
            live.trackers.update({(request_id, index): tracker for index, tracker in enumerate(trackers)})
        max_tokens = room if params.max_tokens is None else min(params.max_tokens, room)
        return Job(prompt, params, request_id, options, asked, trackers, stop_ids, max_tokens)

    def _load_ceiling(self, asked: ThinkingBudget) -> int | None:
        """The most thinking tokens that the server's load leaves to a request; None is no limit."""
        if self.shedding is None or asked.budget == 0:
            return None
        return self.shedding.ceiling(monotonic(), asked.family)

    def _thinking_off(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """The prompt with thinking closed, by the empty block unless its template has done so."""
        form = self.form
        state = prompt_state(prompt["prompt_token_ids"], form)
        if state == "thinking":
            return dict(prompt, prompt_token_ids=[*prompt["prompt_token_ids"], *form.close_block_ids])
        if state == "fresh":
            return dict(prompt, prompt_token_ids=[*prompt["prompt_token_ids"], *form.empty_block_ids])
        return prompt

    def _can_bind(self, job: Job) -> bool:
        """Whether a limit of the request can change its reply."""
        asked, tracker = job.asked, job.trackers[0]
        budget = tracker.grant.budget
        if budget == 0:
            return False
        # Thinking that ends with the reply needs no cut.
        within = budget is not None and budget + (not tracker.in_block) < job.max_tokens
        return within or tracker.judges_tokens or asked.deadline is not None

    # -- one vLLM request, only watched ----------------------------------------------------------------------

    def _watched(self, job: Job) -> AsyncGenerator[RequestOutput, None]:
        """The request as it is, with reports; if the client wants the answer now, its choices go on alone."""
        shown = [Shown() for _ in job.trackers]
        wanting: set[int] = set()
        for index, tracker in enumerate(job.trackers):
            tracker.on_stop = self._stopper(job, index, shown[index], wanting)
        return self._watch(job, shown, wanting)

    async def _watch(
        self, job: Job, shown: list[Shown], wanting: set[int]
    ) -> AsyncGenerator[RequestOutput, None]:
        try:
            params = self.with_measures(job.params) if job.asked.entropy else job.params
            async with aclosing(self.segment(job.prompt, params, job.request_id, job.options)) as outputs:
                async for output in outputs:
                    self._note(output, job, shown)
                    yield output
        except Interrupted as interruption:
            stopped = interruption
        else:
            return
        if stopped.pending is not None:
            self._note(stopped.pending, job, shown)
            yield stopped.pending
        async with aclosing(self._resumed(job, shown, stopped, wanting)) as outputs:
            async for output in outputs:
                yield output

    def _note(self, output: RequestOutput, job: Job, shown: list[Shown]) -> None:
        """Count an output's tokens, and report on the choices that it finishes."""
        delta = job.params.output_kind == RequestOutputKind.DELTA
        for choice in output.outputs:
            tracker, seen = job.trackers[choice.index], shown[choice.index]
            new = choice.token_ids if delta else choice.token_ids[len(seen.token_ids) :]
            logprobs = choice.logprobs and choice.logprobs[-len(new) :]
            tracker.feed(new, logprobs, stopped=stopped_by_token(choice))
            if job.hides_logprobs:
                measured.hide_logprobs(choice)
            seen.token_ids += new
            if not delta:
                seen.texts.clear()
            seen.texts.append(choice.text)
            if choice.finish_reason is not None:
                seen.finished = True
                choice.thinking = self._finish(tracker, choice.finish_reason, output.metrics)

    def _stopper(self, job: Job, index: int, shown: Shown, wanting: set[int]) -> Callable[[], bool]:
        """What interrupts the watched request if its choice `index` is thinking, and notes who wanted it."""
        form, tracker = self.form, job.trackers[index]

        def stop() -> bool:
            if shown.finished or index in wanting:
                return False
            partial = self.partial(job.request_id).get(index)
            unread = [] if partial is None else partial.token_ids[len(shown.token_ids) :]
            tags = [token for token in unread if token == form.open_id or token in form.end_ids]
            thinking = tags[-1] == form.open_id if tags else tracker.in_block
            if not (thinking or (tracker.untouched and not unread)):
                return False
            if not wanting and not self.interrupt(job.request_id):
                return False
            wanting.add(index)
            return True

        return stop

    async def _resumed(
        self, job: Job, shown: list[Shown], stopped: Interrupted, wanting: set[int]
    ) -> AsyncGenerator[RequestOutput, None]:
        """The rest of an interrupted request, choice by choice."""
        totals = [empty_output(index) for index in range(len(shown))]
        for output in stopped.finished:
            assert output.finish_reason is not None
            tracker = job.trackers[output.index]
            tracker.feed(output.token_ids, output.logprobs, stopped=stopped_by_token(output))
            if job.hides_logprobs:
                measured.hide_logprobs(output)
            output.thinking = self._finish(tracker, output.finish_reason, None)
            totals[output.index] = output
            shown[output.index].finished = True
        choices = []
        for index, (seen, total) in enumerate(zip(shown, totals, strict=True)):
            if not seen.finished:
                text = "".join(seen.texts)
                total.token_ids, total.text = list(seen.token_ids), text
                choice = self._choice(job, index)
                unshown = stopped.partial.get(index, Partial([], None)).after(len(seen.token_ids))
                choice.resume(seen.token_ids, text, unshown, stop=index in wanting)
                choices.append(choice)
        async with aclosing(self._joined(job, choices, totals)) as outputs:
            async for output in outputs:
                yield output

    # -- requests with limits --------------------------------------------------------------------------------

    def _limited(self, job: Job) -> AsyncGenerator[RequestOutput, None]:
        choices = [self._choice(job, index) for index in range(job.params.n)]
        return self._joined(job, choices, [empty_output(index) for index in range(job.params.n)])

    def _choice(self, job: Job, index: int) -> LimitedChoice:
        form = self.form
        params = copy.copy(job.params)
        params.n = 1
        if params.seed is not None:
            params.seed += index  # as vLLM seeds the choices of n > 1
        return LimitedChoice(
            self,
            index,
            job.prompt,
            params,
            job.request_id if job.params.n == 1 else f"{job.request_id}.{index}",
            job.trackers[index],
            stop_ids=job.stop_ids,
            wait_ids=form.encode_wait_text(job.asked.wait_text) if job.asked.min_tokens else (),
            max_tokens=job.max_tokens,
            options=job.options,
        )

    async def _joined(
        self, job: Job, choices: list[LimitedChoice], totals: list[CompletionOutput]
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
                    shown.thinking = self._finish(choice.tracker, piece.finish_reason, metrics)
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

    def _finish(self, tracker: ThinkingTracker, reason: str, metrics: Any) -> ThinkingReport:
        """The report of a finished choice, which also tells the next one how long an answer takes."""
        report = tracker.finish(reason)
        if reason == "stop":
            self.pace.observe_answer(tracker.answer_tokens)
            if tracker.estimate is not None and tracker.finished_at is not None:
                decided_at, estimate = tracker.estimate
                self.pace.observe_error((tracker.finished_at - decided_at) / estimate)
        if metrics is not None and metrics.num_generation_tokens > 1:
            spent = metrics.last_token_ts - metrics.first_token_ts
            self.pace.observe_step(spent / (metrics.num_generation_tokens - 1))
        if self.on_finish is not None:
            self.on_finish(tracker)
        return report

    # -- for LimitedChoice -----------------------------------------------------------------------------------

    def segment(
        self, prompt: dict[str, Any], params: SamplingParams, request_id: str, options: dict[str, Any]
    ) -> AsyncGenerator[RequestOutput, None]:
        """vLLM's reply to a request as it is. Raises Interrupted when `interrupt` is called for it."""
        return super().generate(prompt, params, request_id, **options)

    def with_measures(self, params: SamplingParams) -> SamplingParams:
        """A copy whose tokens come with `Measured` log-probabilities."""
        return measured.with_measures(params, self.model_config)

    def note_wait(self, tracker: ThinkingTracker, cut_at: float, metrics: Any) -> None:
        """Note when the first token after a cut at `cut_at` was there; vLLM's clock is the monotonic one."""
        if metrics is not None:
            tracker.answer_wait = max(0.0, metrics.first_token_ts - cut_at)
            self.pace.observe_wait(tracker.answer_wait)

    def ahead_of_new(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options for a request whose prefix is in the cache now: it goes ahead of new ones."""
        if not self.vllm_config.cache_config.enable_prefix_caching:
            logger.warning_once("prefix caching is off: each cut computes its whole prefix again")
        if self.scheduler_config.policy != "priority":
            return options
        return dict(options, priority=options.get("priority", 0) - 1)

    async def probe(self, choice: LimitedChoice, confident: ConfidentStop) -> tuple[list[int], float]:
        """The greedy answer from a choice's thinking so far, and the geometric mean of its probabilities."""
        form = self.form
        ids = [*choice.prompt["prompt_token_ids"], *choice.reply, *choice.stop_ids]
        ids += form.encode(confident.induce)
        room = self.model_config.max_model_len - len(ids)
        if room < 1:
            return [], 0.0
        params = SamplingParams(
            temperature=0.0,
            max_tokens=min(confident.tokens, room),
            logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        options = dict(self.ahead_of_new(choice.options), reasoning_ended=True)
        request_id = f"{choice.request_id}.probe{choice.tracker.probes}"
        prompt = dict(choice.prompt, prompt_token_ids=ids)
        (output,) = [o async for o in self.segment(prompt, params, request_id, options)]
        (answer,) = output.outputs
        entries = zip(answer.token_ids, answer.logprobs, strict=True)
        mean = sum(entry[token].logprob for token, entry in entries) / len(answer.token_ids)
        return list(answer.token_ids), math.exp(mean)
