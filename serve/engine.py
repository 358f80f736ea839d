"""`ThinkingEngine`: vLLM's `AsyncLLM` with thinking budgets that are exact to the token.

A request that limits nothing is one unaltered vLLM request, only watched. A request with limits is generated
by one `LimitedChoice` for each of its choices: the first segment is the request itself, and if thinking ends
within the limits nothing more happens. The caller sees one continuous stream.

Nothing runs inside the model's sampling, so one code path is exact for every backend, runner and parallelism.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import ContextVar
from pathlib import Path
from time import monotonic
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.logger import init_logger
from vllm.outputs import RequestOutput
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import SamplingParams

from serve import measured
from serve.budget import ThinkingBudget
from serve.entropy import EntropyTrace
from serve.formats import ThinkingFormat, find_format, no_thinking
from serve.grants import grant
from serve.interrupts import InterruptibleLLM
from serve.job import Job, take_asked, thinking_off
from serve.joined import limited
from serve.load import counted
from serve.pace import Pace
from serve.parameters import with_barred
from serve.profile import ThinkingProfile
from serve.prompts import prompt_state
from serve.shedding import Shedding
from serve.trace import LiveThinking, ThinkingReport, ThinkingTracker
from serve.watched import Watched

logger = init_logger("vllm.thinkdial")

LIVE: ContextVar[LiveThinking | None] = ContextVar("live_thinking", default=None)
"""Where `generate` leaves the trackers of its choices, if the caller has set it."""


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
        params, asked = take_asked(sampling_params)
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
        stream = limited(self, job) if job.can_bind else Watched(self, job).outputs()
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
            prompt = thinking_off(prompt, form)
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

    # -- for those who generate its choices ------------------------------------------------------------------

    def finish(self, tracker: ThinkingTracker, reason: str, metrics: Any) -> ThinkingReport:
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
