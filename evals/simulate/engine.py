"""Continuous batching in discrete time, step by step, as vLLM's scheduler does it.

In each step every running request makes one token, and what room is left of `max_batched_tokens` computes
prompts: those begun first, then replies that go on after a cut, then new requests in order of arrival. A
request that is cut at its budget is a second request whose prefix is cached in whole blocks: it computes the
rest of the last block and the early-stop text. A prompt is taken in when its blocks are free; when a running
request needs a block and none is free, cached prefixes of waiting replies go first, then the request that
came last starts again (recomputation). One engine, no prefixes shared between requests.

A step costs O(1), not O(batch): all that decode advance together, so that only what changes is looked at.
"""

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from evals.simulate.steps import StepTimes

DECODING, WAITING, DONE = "decoding", "waiting", "done"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of an engine, under vLLM's names for its flags. kv_blocks: of `block_size` tokens each."""

    max_num_seqs: int
    max_batched_tokens: int
    kv_blocks: int
    block_size: int = 16


@dataclass(frozen=True, slots=True)
class Format:
    """Tokens of a model's thinking that are not thinking: the two tags where the model writes them, the
    early-stop text, and the empty block of a reply without thinking (inserted, as part of the prompt)."""

    open_tokens: int = 1
    close_tokens: int = 1
    stop_tokens: int = 27
    empty_tokens: int = 4


@dataclass(slots=True)
class Request:
    """One request and what becomes of it; times in seconds.

    thinking: tokens it would think by itself. answer: tokens after the thinking, end of turn included.
    budget: None is no limit.
    """

    arrived: float
    prompt: int
    thinking: int
    answer: int
    budget: int | None = None
    first_token: float = math.nan
    ended: float = math.nan
    made: int = 0
    restarts: int = 0
    # Of the part that runs: tokens to compute, tokens cached, tokens to make, whether another part follows.
    _prefill: int = 0
    _cached: int = 0
    _blocks: int = 0
    _to_make: int = 0
    _end_step: int = 0
    _last: bool = True
    _resumed: bool = False
    _state: str = field(default=WAITING)

    @property
    def cut(self) -> bool:
        return self.budget is not None and self.budget != 0 and self.thinking > self.budget

    @property
    def tokens(self) -> int:
        """Thinking tokens that its reply holds."""
        return self.thinking if self.budget is None else min(self.thinking, self.budget)

    @property
    def seconds(self) -> float:
        return self.ended - self.arrived


@dataclass(frozen=True, slots=True)
class Outcome:
    """A simulated stretch. made: tokens that the model made, those looked at past a budget too. computed:
    prompt tokens. seconds: until the last reply ended. peak_blocks: of the KV cache. restarts: requests that
    lost their cache. mean_running: requests that decode, over the time in which something ran."""

    requests: Sequence[Request]
    seconds: float
    busy: float
    steps: int
    made: int
    computed: int
    peak_blocks: int
    restarts: int
    mean_running: float


class Engine:
    """Runs requests to their ends."""

    def __init__(self, limits: Limits, steps: StepTimes, form: Format | None = None) -> None:
        self.limits = limits
        self.steps = steps
        self.form = form or Format()
        self._again: list[tuple[float, int, Request]] = []
        self._new: deque[Request] = deque()
        self._partial: deque[Request] = deque()
        self._decoding: dict[int, Request] = {}
        self._ends: list[tuple[int, int, Request]] = []
        self._growing = [0] * limits.block_size
        self._context = 0
        self._blocks = 0
        self._step = 0
        self._count = 0
        self._made = self._computed = self._peak = self._restarts = 0

    def run(self, requests: Sequence[Request], in_flight: int | None = None) -> Outcome:
        """Requests in order of arrival. in_flight: so many are kept unanswered, whatever their arrivals are;
        each arrives when another has ended. Raises ValueError for a request that the cache cannot hold."""
        coming = deque(requests)
        now = busy = running = 0.0
        unanswered = 0
        while coming or unanswered:
            if in_flight is None:
                if not unanswered:
                    now = max(now, coming[0].arrived)
                while coming and coming[0].arrived <= now:
                    self._admit(coming.popleft())
                    unanswered += 1
            else:
                while coming and unanswered < in_flight:
                    coming[0].arrived = now
                    self._admit(coming.popleft())
                    unanswered += 1
            self._grow()
            decoding, context = len(self._decoding), self._context
            computed, begun = self._take_in(self.limits.max_batched_tokens - decoding)
            resumed = sum(request._resumed for request in begun)
            seconds = self.steps.seconds(decoding, context, computed, len(begun), resumed)
            now += seconds
            busy += seconds
            running += decoding * seconds
            self._computed += computed
            self._made += decoding + len(begun)
            self._context += decoding
            for request in begun:
                self._begin(request, now)
            self._step += 1
            while self._ends and self._ends[0][0] <= self._step:
                end, _, request = heapq.heappop(self._ends)
                if request._state == DECODING and request._end_step == end:
                    unanswered -= self._end(request, now)
        mean = running / busy if busy else 0.0
        return Outcome(
            requests, now, busy, self._step, self._made, self._computed, self._peak, self._restarts, mean
        )

    # -- one request's way -----------------------------------------------------------------------------------

    def _admit(self, request: Request) -> None:
        form = self.form
        budget = request.budget
        request._prefill = request.prompt + (form.empty_tokens if budget == 0 else 0)
        if budget == 0:
            request._to_make = request.answer
        elif request.cut:
            assert budget is not None
            # One past the budget is looked at, to tell a natural end from a cut; it is dropped.
            request._to_make = form.open_tokens + budget + 1
        else:
            request._to_make = form.open_tokens + request.thinking + form.close_tokens + request.answer
        request._to_make = max(1, request._to_make)
        request._last = not request.cut
        longest = self._whole(request.prompt + form.empty_tokens + form.stop_tokens) + self._whole(
            form.open_tokens + form.close_tokens + request.tokens + request.answer + 1
        )
        if longest > self.limits.kv_blocks:
            raise ValueError(
                f"kv_blocks: {self.limits.kv_blocks} blocks of {self.limits.block_size} tokens are wrong because "
                f"one request needs {longest}; give more memory, or a smaller budget"
            )
        self._new.append(request)

    def _begin(self, request: Request, now: float) -> None:
        """Its prompt is computed, and its first token made."""
        request._cached += request._prefill
        request._prefill = 0
        if math.isnan(request.first_token):
            request.first_token = now
        request._state = DECODING
        # Counted from the step that follows.
        request._end_step = self._step + request._to_make
        self._count += 1
        heapq.heappush(self._ends, (request._end_step, self._count, request))
        self._decoding[id(request)] = request
        self._context += request._cached
        self._growing[self._phase(request)] += 1

    def _phase(self, request: Request) -> int:
        """At which steps, modulo the block size, it needs another block: those before which its blocks are
        full. `_cached` is what it has cached after the step `_end_step - _to_make`."""
        first = request._end_step - request._to_make + 1
        return (first - request._cached) % self.limits.block_size

    def _leave(self, request: Request) -> int:
        """Out of the running ones; returns the tokens that it has made in this part."""
        made = self._step - (request._end_step - request._to_make)
        cached = request._cached + made - 1
        self._growing[self._phase(request)] -= 1
        del self._decoding[id(request)]
        self._context -= cached
        request._cached = cached
        return made

    def _end(self, request: Request, now: float) -> int:
        """A part has ended; returns 1 if the reply has."""
        request.made += self._leave(request)
        size = self.limits.block_size
        held = self._whole(request._cached)
        if request._last:
            request._state = DONE
            request.ended = now
            self._blocks -= held
            return 1
        request._last = request._resumed = True
        request._state = WAITING
        request._blocks = request._cached // size
        request._prefill = request._cached % size + self.form.stop_tokens
        request._cached -= request._cached % size
        request._to_make = max(1, request.answer)
        self._blocks -= held - request._blocks
        self._count += 1
        heapq.heappush(self._again, (request.arrived, self._count, request))
        return 0

    # -- a step ----------------------------------------------------------------------------------------------

    def _grow(self) -> None:
        """Take the blocks that running requests need for the tokens of this step."""
        while True:
            need = self._growing[self._step % self.limits.block_size]
            if self._blocks + need <= self.limits.kv_blocks:
                break
            if not self._forget():
                self._restart()
        self._take(need)

    def _take_in(self, room: int) -> tuple[int, list[Request]]:
        """Prompts of this step: how many tokens of them, and the requests whose prompt it ends."""
        computed, begun = 0, []
        for request in list(self._partial):
            share = min(room - computed, request._prefill)
            if share <= 0:
                break
            computed += share
            if self._compute(request, share):
                self._partial.popleft()
                begun.append(request)
        while computed < room and (request := self._next()) is not None:
            if len(self._decoding) + len(self._partial) + len(begun) >= self.limits.max_num_seqs:
                break
            need = self._whole(request._cached + request._prefill) - request._blocks
            idle = not (self._decoding or self._partial or begun)
            while self._blocks + need > self.limits.kv_blocks and idle and self._forget(keep=request):
                pass
            if self._blocks + need > self.limits.kv_blocks:
                break
            self._take(need)
            request._blocks = 0
            if self._again:
                heapq.heappop(self._again)
            else:
                self._new.popleft()
            share = min(room - computed, request._prefill)
            computed += share
            if self._compute(request, share):
                begun.append(request)
            else:
                self._partial.append(request)
        return computed, begun

    def _compute(self, request: Request, share: int) -> bool:
        """Compute so many tokens of its prompt; whether that is all."""
        if share == request._prefill:
            return True
        request._prefill -= share
        request._cached += share
        return False

    def _next(self) -> Request | None:
        return self._again[0][2] if self._again else self._new[0] if self._new else None

    def _take(self, blocks: int) -> None:
        self._blocks += blocks
        self._peak = max(self._peak, self._blocks)

    def _whole(self, tokens: int) -> int:
        return -(-tokens // self.limits.block_size)

    def _forget(self, keep: Request | None = None) -> bool:
        """Give up the cached prefix of the waiting reply that came last; False if there is none."""
        holders = [request for _, _, request in self._again if request._blocks and request is not keep]
        if not holders:
            return False
        last = max(holders, key=lambda request: request.arrived)
        self._blocks -= last._blocks
        last._prefill += last._cached
        last._cached = last._blocks = 0
        return True

    def _restart(self) -> None:
        """The running request that came last loses its cache, and computes all it had once more."""
        last = max(self._decoding.values(), key=lambda request: request.arrived)
        made = self._leave(last)
        self._blocks -= self._whole(last._cached)
        last.made += made
        last.restarts += 1
        self._restarts += 1
        last._to_make -= made
        # The last token that it made was not cached yet.
        last._prefill, last._cached, last._blocks = last._cached + 1, 0, 0
        last._state = WAITING
        self._count += 1
        heapq.heappush(self._again, (last.arrived, self._count, last))
