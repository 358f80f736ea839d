"""A request that no limit binds: one unaltered vLLM request, watched, and stopped if its client wishes."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind

from serve import measured
from serve.deltas import empty_output, stopped_by_token
from serve.interrupts import Interrupted, Partial
from serve.job import Job
from serve.joined import joined, limited_choice

if TYPE_CHECKING:
    from serve.engine import ThinkingEngine


@dataclass(slots=True)
class Shown:
    """What the caller has seen of a watched choice."""

    token_ids: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    finished: bool = False


class Watched:
    """The request as it is, with reports; if the client wants the answer now, its choices go on alone."""

    def __init__(self, engine: "ThinkingEngine", job: Job) -> None:
        self._engine = engine
        self._job = job
        self._shown = [Shown() for _ in job.trackers]
        self._wanting: set[int] = set()
        for index, tracker in enumerate(job.trackers):
            tracker.on_stop = self._stopper(index)

    async def outputs(self) -> AsyncGenerator[RequestOutput, None]:
        """vLLM's own outputs, with reports; if thinking is stopped, its choices go on one by one."""
        job = self._job
        try:
            params = self._engine.with_measures(job.params) if job.asked.entropy else job.params
            async with aclosing(
                self._engine.segment(job.prompt, params, job.request_id, job.options)
            ) as outputs:
                async for output in outputs:
                    self._note(output)
                    yield output
        except Interrupted as interruption:
            stopped = interruption
        else:
            return
        if stopped.pending is not None:
            self._note(stopped.pending)
            yield stopped.pending
        async with aclosing(self._resumed(stopped)) as outputs:
            async for output in outputs:
                yield output

    def _note(self, output: RequestOutput) -> None:
        """Count an output's tokens, and report on the choices that it finishes."""
        job = self._job
        delta = job.params.output_kind == RequestOutputKind.DELTA
        for choice in output.outputs:
            tracker, seen = job.trackers[choice.index], self._shown[choice.index]
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
                choice.thinking = self._engine.finish(tracker, choice.finish_reason, output.metrics)

    def _stopper(self, index: int) -> Callable[[], bool]:
        """What interrupts the request if its choice `index` is thinking, and notes who wanted it."""
        engine, request_id, wanting = self._engine, self._job.request_id, self._wanting
        form, tracker, shown = engine.form, self._job.trackers[index], self._shown[index]

        def stop() -> bool:
            if shown.finished or index in wanting:
                return False
            partial = engine.partial(request_id).get(index)
            unread = [] if partial is None else partial.token_ids[len(shown.token_ids) :]
            tags = [token for token in unread if token == form.open_id or token in form.end_ids]
            thinking = tags[-1] == form.open_id if tags else tracker.in_block
            if not (thinking or (tracker.untouched and not unread)):
                return False
            if not wanting and not engine.interrupt(request_id):
                return False
            wanting.add(index)
            return True

        return stop

    async def _resumed(self, stopped: Interrupted) -> AsyncGenerator[RequestOutput, None]:
        """The rest of the interrupted request, choice by choice."""
        job, shown = self._job, self._shown
        totals = [empty_output(index) for index in range(len(shown))]
        for output in stopped.finished:
            assert output.finish_reason is not None
            tracker = job.trackers[output.index]
            tracker.feed(output.token_ids, output.logprobs, stopped=stopped_by_token(output))
            if job.hides_logprobs:
                measured.hide_logprobs(output)
            output.thinking = self._engine.finish(tracker, output.finish_reason, None)
            totals[output.index] = output
            shown[output.index].finished = True
        choices = []
        for index, (seen, total) in enumerate(zip(shown, totals, strict=True)):
            if not seen.finished:
                text = "".join(seen.texts)
                total.token_ids, total.text = list(seen.token_ids), text
                choice = limited_choice(self._engine, job, index)
                unshown = stopped.partial.get(index, Partial([], None)).after(len(seen.token_ids))
                choice.resume(seen.token_ids, text, unshown, stop=index in self._wanting)
                choices.append(choice)
        async with aclosing(joined(self._engine, job, choices, totals)) as outputs:
            async for output in outputs:
                yield output
