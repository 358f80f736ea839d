"""One choice whose thinking is limited: think, insert, answer, as vLLM requests one after another.

The reply is generated in *segments*, each an ordinary vLLM request that starts from prompt + reply so far, as
token ids; the prefix is in the KV cache, so a new segment costs one short prefill. A segment is dropped from
the first token on that the tracker does not allow. When a budget is used up to the last token, the segment
that answers is started at once: it is wanted unless the next token closes the thinking.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from vllm.logprobs import Logprob
from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams

from serve.ahead import Ahead
from serve.certainty import Certainty
from serve.continued import Segment, next_segment
from serve.deadline import Deadline
from serve.deltas import Delta, delta_of, insert, split, stopped_by_token, text_of
from serve.interrupts import Interrupted, Partial
from serve.parameters import has_stops
from serve.trace import Action, ThinkingTracker

if TYPE_CHECKING:
    from serve.engine import ThinkingEngine


class LimitedChoice:
    """A choice of a request with limits on its thinking.

    prompt: vLLM's engine input with token ids. params: as vLLM would get them for this choice alone.
    stop_ids, wait_ids: inserted when thinking is cut, and when it ends too early.
    max_tokens: most tokens of the reply, inserted ones included. options: further arguments of `generate`.
    """

    def __init__(
        self,
        engine: "ThinkingEngine",
        index: int,
        prompt: dict[str, Any],
        params: SamplingParams,
        request_id: str,
        tracker: ThinkingTracker,
        *,
        stop_ids: tuple[int, ...],
        wait_ids: tuple[int, ...],
        max_tokens: int,
        options: dict[str, Any],
    ) -> None:
        self.engine = engine
        self.form = engine.form
        self.index = index
        self.prompt = prompt
        self.params = params
        self.request_id = request_id
        self.tracker = tracker
        self.stop_ids = stop_ids
        self.wait_ids = wait_ids
        self.max_tokens = max_tokens
        self.options = options
        self.reply: list[int] = []
        self._interrupt_cause: Literal["deadline", "client"] | None = None
        self._running = False
        self._unshown: Partial | None = None
        self._cut_at: float | None = None
        self._tokens_at_wait = -1
        self._hold_open = 0
        asked = tracker.asked
        self._certainty = None if asked.confident is None else Certainty(self, asked.confident)
        self._deadline = None if asked.deadline is None else Deadline(self, asked.deadline)
        self._ahead: Ahead | None = None
        self._ahead_segment: Segment | None = None
        self._number = 0
        self._segment = self._next_segment()
        tracker.on_stop = lambda: self.interrupt("client")

    def resume(self, shown: list[int], text: str, unshown: Partial, *, stop: bool) -> None:
        """Go on where an interrupted request for this choice stood.

        shown, text: what the caller has seen of it. unshown: what came after. stop: thinking ends here.
        """
        self.reply = list(shown)
        self._segment.kept = list(shown)
        self._segment.text = text
        self._unshown = unshown
        self._stay(unshown.rank)
        self._interrupt_cause = "client" if stop else None

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """The reply, piece by piece; the last piece has a finish reason."""
        if self._deadline is not None:
            self._deadline.look()
        try:
            while True:
                async with aclosing(self._run_segment()) as pieces:
                    async for piece in pieces:
                        yield piece
                        if piece.finish_reason is not None:
                            return
                self._number += 1
                ahead = self._ahead_segment
                if ahead is not None and len(ahead.prompt["prompt_token_ids"]) != self._length:
                    await self._drop_ahead()
                self._segment = self._ahead_segment or self._next_segment()
        finally:
            if self._deadline is not None:
                self._deadline.cancel()
            await self._drop_ahead()

    # -- one segment -----------------------------------------------------------------------------------------

    async def _run_segment(self) -> AsyncGenerator[Delta, None]:
        """What the segment adds to the reply, and what is inserted after it."""
        action: Action | None = None
        piece = self._nothing()
        if not self._must_stop():
            async with aclosing(self._outputs()) as outputs:
                async for output in outputs:
                    rest: Delta | None = output
                    while rest is not None and action is None:
                        piece, rest, action = self._admit(rest)
                        if action == "probe":
                            yield piece
                            piece = self._nothing(piece)
                            assert self._certainty is not None
                            action = "cut" if await self._certainty.reached() else None
                        elif action is None:
                            await self._look_ahead()
                            yield piece
                    if action is not None:
                        break
        if action is None:
            if not self._must_stop():
                return
            self.tracker.cut_cause = self._interrupt_cause
            piece, action = self._nothing(piece), "cut"
        self._act(action, piece)
        if piece.token_ids or piece.text or piece.finish_reason:
            yield piece

    async def _outputs(self) -> AsyncGenerator[Delta, None]:
        """The segment's deltas as vLLM gives them; after an interruption, those that it had not given."""
        segment, cut_at = self._segment, self._cut_at
        self._cut_at = None
        if self._unshown is not None:
            partial, self._unshown = self._unshown, None
            yield self._delta_of(partial)
            return
        if segment is self._ahead_segment and self._ahead is not None:
            stream = self._ahead.outputs()
            self._ahead = self._ahead_segment = None
        else:
            stream = self._start(segment)
        self._running = True
        try:
            async with aclosing(stream) as outputs:
                async for output in outputs:
                    if not segment.kept:
                        self._stay(self.engine.rank(segment.request_id))
                    if cut_at is not None:
                        self.engine.note_wait(self.tracker, cut_at, output.metrics)
                        cut_at = None
                    delta = delta_of(output)
                    if segment.thinks and delta.stop_reason in self.form.end_ids:
                        delta.text += self.form.decode(
                            (delta.token_ids[-1],), skip_special_tokens=self.params.skip_special_tokens
                        )
                        delta.finish_reason = delta.stop_reason = None
                        if len(self.reply) + len(delta.token_ids) >= self.max_tokens:
                            delta.finish_reason = "length"
                    yield delta
        except Interrupted as interruption:
            yield self._delta_of(interruption.partial.get(0, Partial([], None)).after(len(segment.kept)))
        finally:
            self._running = False

    def _stay(self, rank: int | None) -> None:
        """Send what follows to the data-parallel rank that has the prefix in its cache."""
        if rank is not None:
            self.options = dict(self.options, data_parallel_rank=rank)

    def _must_stop(self) -> bool:
        """Whether an interruption has found the choice thinking, or before its first token."""
        return self._interrupt_cause is not None and (self.tracker.in_block or self.tracker.untouched)

    def _admit(self, delta: Delta) -> tuple[Delta, Delta | None, Action | None]:
        """Add to the reply what the tracker allows: that piece, the rest, and what is due between them."""
        segment, tracker = self._segment, self.tracker
        verdict = tracker.feed(
            delta.token_ids,
            delta.logprobs,
            stopped=stopped_by_token(delta),
            until_open=has_stops(self.params),
        )
        if verdict is None:
            piece, rest, action = delta, None, None
        else:
            action = verdict.action
            if action == "wait" and not self._has_room(self.wait_ids):
                tracker.floor, action = 0, None
            whole = verdict.keep == len(delta.token_ids)
            head = segment.kept + delta.token_ids[: verdict.keep]
            text = delta.text if whole else self._text(head)[len(segment.text) :]
            piece, rest = split(delta, verdict.keep, text)
        self.reply += piece.token_ids
        segment.kept += piece.token_ids
        segment.text += piece.text
        if rest is not None and not rest.token_ids and rest.finish_reason is None:
            rest = None
        return piece, rest, action

    def _act(self, action: Action, piece: Delta) -> None:
        """Do at the end of `piece` what the tracker has asked for."""
        tracker = self.tracker
        self._show_all(piece)
        if action == "cut":
            ids = self.form.empty_block_ids if tracker.untouched else self.stop_ids
            if self._has_room(ids):
                self._insert(piece, ids)
                tracker.cut(len(ids))
                self._cut_at = monotonic()
            else:
                piece.finish_reason = "length"
        elif action == "wait":
            self._insert(piece, self.wait_ids)
            tracker.go_on(len(self.wait_ids))
            # A model that ends its thinking again at once is held to it.
            stuck = tracker.tokens == self._tokens_at_wait
            self._hold_open = tracker.floor - tracker.tokens if stuck else 0
            self._tokens_at_wait = tracker.tokens
        if len(self.reply) >= self.max_tokens:
            piece.finish_reason = "length"

    def _has_room(self, ids: tuple[int, ...]) -> bool:
        """Whether the reply can hold `ids` and at least one token more."""
        return len(self.reply) + len(ids) < self.max_tokens

    @property
    def _length(self) -> int:
        """Tokens of prompt and reply."""
        return len(self.prompt["prompt_token_ids"]) + len(self.reply)

    def _start(self, segment: Segment) -> AsyncGenerator[RequestOutput, None]:
        return self.engine.segment(segment.prompt, segment.params, segment.request_id, segment.options)

    async def _look_ahead(self) -> None:
        """Start the answer when the budget is used up; drop it if the model closes its thinking itself."""
        spent = self.tracker.in_block and self.tracker.left == 0 and self._has_room(self.stop_ids)
        if not spent:
            await self._drop_ahead()
        elif self._ahead is None:
            self._ahead_segment = self._next_segment(ahead=True)
            self._ahead = Ahead(self._start(self._ahead_segment))

    async def _drop_ahead(self) -> None:
        if self._ahead is not None:
            await self._ahead.drop()
        self._ahead = self._ahead_segment = None

    def _next_segment(self, *, ahead: bool = False) -> Segment:
        """The vLLM request that continues the reply. ahead: the one after the present, if it is cut now."""
        reply = [*self.reply, *self.stop_ids] if ahead else self.reply
        in_block = self.tracker.in_block and not ahead
        return next_segment(self, reply, self._number + ahead, in_block=in_block, hold_open=self._hold_open)

    # -- stopping ahead of the budget ------------------------------------------------------------------------

    def interrupt(self, cause: Literal["deadline", "client"]) -> bool:
        """End the thinking now; False if it has ended."""
        if self._interrupt_cause is not None or not self._is_thinking():
            return False
        if self._running and not self.engine.interrupt(self._segment.request_id):
            return False
        self._interrupt_cause = cause
        if self._certainty is not None:
            self._certainty.cancel()
        return True

    def _is_thinking(self) -> bool:
        """Whether thinking is going on, or may still begin, by the newest tokens."""
        unread = self._newest()[len(self._segment.kept) :]
        for token in reversed(unread):
            if token == self.form.open_id or token in self.form.end_ids:
                return token == self.form.open_id
        return self.tracker.in_block or (self.tracker.untouched and not unread)

    @property
    def generated(self) -> int:
        """Tokens of the reply up to the newest, without those that its segment began with."""
        return len(self.reply) - len(self._segment.kept) + len(self._newest())

    def _newest(self) -> list[int]:
        """What the running segment has generated."""
        partial = self.engine.partial(self._segment.request_id).get(0)
        return [] if partial is None else partial.token_ids

    # -- pieces ----------------------------------------------------------------------------------------------

    def _nothing(self, like: Delta | None = None) -> Delta:
        """A piece without tokens."""
        logprobs: list[dict[int, Logprob]] | None = None if self.params.logprobs is None else []
        return Delta([], "", logprobs, None if like is None else like.source)

    def _delta_of(self, partial: Partial) -> Delta:
        segment = self._segment
        text = self._text(segment.kept + partial.token_ids)[len(segment.text) :]
        return Delta(partial.token_ids, text, partial.logprobs, partial.source)

    def _show_all(self, piece: Delta) -> None:
        """Add to a piece the text that vLLM holds back because more could follow."""
        segment = self._segment
        text = self._text(segment.kept)[len(segment.text) :]
        piece.text += text
        segment.text += text

    def _insert(self, piece: Delta, ids: tuple[int, ...]) -> None:
        """Add inserted ids to the reply and to the piece that ends before them."""
        self.reply += ids
        insert(piece, ids, self.form, self.params)
        if self.tracker.entropy is not None:
            for i in ids:
                self.tracker.entropy.add(self.form.decode((i,), skip_special_tokens=False), None)

    def _text(self, token_ids: list[int]) -> str:
        """Text of the segment's first tokens."""
        prompt_ids = self._segment.prompt["prompt_token_ids"]
        return text_of(self.engine.renderer.tokenizer, prompt_ids, self._segment.params, token_ids)
