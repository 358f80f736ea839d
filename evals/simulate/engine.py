"""Continuous batching in discrete time, step by step, as vLLM's scheduler does it.

In each step every running request makes one token, and what room is left of `max_batched_tokens` computes
prompts: those begun first, then replies that go on after a cut, then new requests in order of arrival. A
request that is cut at its budget is a second request whose prefix is cached in whole blocks: it computes the
rest of the last block and the early-stop text. A prompt is taken in when its blocks are free. When a request
needs blocks that are not free, cached prefixes of waiting replies go first (the least recently used); where a
running request still has none, the one that came last starts again (recomputation). One engine; requests
share no prefixes.

All that decode advance together, so that a stretch of steps in which nothing begins, ends or arrives is
taken at once: its time is that of its middle step times their number (exact where a step's time is linear in
the context).
"""

import heapq
import math
from collections import deque
from collections.abc import Sequence

from evals.simulate.requests import DECODING, DONE, WAITING, Format, Limits, Outcome, Request
from evals.simulate.steps import StepTimes


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
            decoding, context = len(self._decoding), float(self._context)
            computed, begun = self._take_in(self.limits.max_batched_tokens - decoding)
            resumed = sum(request.resumed for request in begun)
            steps = 1
            if decoding and not computed:
                gap = coming[0].arrived - now if coming and in_flight is None else math.inf
                steps = self._unchanged(gap)
                self._take(self._growth(steps))
                context += decoding * (steps - 1) / 2
            seconds = steps * self.steps.seconds(decoding, context, computed, len(begun), resumed)
            now += seconds
            busy += seconds
            running += decoding * seconds
            self._computed += computed
            self._made += steps * decoding + len(begun)
            self._context += steps * decoding
            for request in begun:
                self._begin(request, now)
            self._step += steps
            while self._ends and self._ends[0][0] <= self._step:
                end, _, request = heapq.heappop(self._ends)
                if request.state == DECODING and request.end_step == end:
                    unanswered -= self._end(request, now)
        mean = running / busy if busy else 0.0
        return Outcome(
            requests,
            self.form,
            now,
            busy,
            self._step,
            self._made,
            self._computed,
            self._peak,
            self._restarts,
            mean,
        )

    # -- one request's way -----------------------------------------------------------------------------------

    def _admit(self, request: Request) -> None:
        form = self.form
        budget = request.budget
        request.to_compute = request.prompt + (form.empty_tokens if budget == 0 else 0)
        if budget == 0:
            request.to_make = request.answer
        elif request.cut:
            assert budget is not None
            # One past the budget is looked at, to tell a natural end from a cut; it is dropped.
            request.to_make = form.open_tokens + budget + 1
        else:
            request.to_make = form.open_tokens + request.thinking + form.close_tokens + request.answer
        request.to_make = max(1, request.to_make)
        request.last_part = not request.cut
        longest = self._whole(request.prompt + form.empty_tokens + form.stop_tokens) + self._whole(
            form.open_tokens + form.close_tokens + request.tokens + request.answer + 1
        )
        if longest > self.limits.kv_blocks:
            raise ValueError(
                f"kv_blocks: {self.limits.kv_blocks} blocks of {self.limits.block_size} tokens are wrong "
                f"because one request needs {longest}; give more memory, or a smaller budget"
            )
        self._new.append(request)

    def _begin(self, request: Request, now: float) -> None:
        """Its prompt is computed, and its first token made."""
        request.cached += request.to_compute
        request.to_compute = 0
        if math.isnan(request.first_token):
            request.first_token = now
        request.state = DECODING
        # Counted from the step that follows.
        request.end_step = self._step + request.to_make
        self._count += 1
        heapq.heappush(self._ends, (request.end_step, self._count, request))
        self._decoding[id(request)] = request
        self._context += request.cached
        self._growing[self._phase(request)] += 1

    def _phase(self, request: Request) -> int:
        """At which steps, modulo the block size, it needs another block: those before which its blocks are
        full. `cached` is what it has cached after the step `end_step - to_make`."""
        first = request.end_step - request.to_make + 1
        return (first - request.cached) % self.limits.block_size

    def _leave(self, request: Request) -> int:
        """Out of the running ones; returns the tokens that it has made in this part."""
        made = self._step - (request.end_step - request.to_make)
        cached = request.cached + made - 1
        self._growing[self._phase(request)] -= 1
        del self._decoding[id(request)]
        self._context -= cached
        request.cached = cached
        return made

    def _end(self, request: Request, now: float) -> int:
        """A part has ended; returns 1 if the reply has."""
        request.made += self._leave(request)
        size = self.limits.block_size
        held = self._whole(request.cached)
        if request.last_part:
            request.state = DONE
            request.ended = now
            self._blocks -= held
            return 1
        request.last_part = request.resumed = True
        request.state = WAITING
        request.blocks = request.cached // size
        request.to_compute = request.cached % size + self.form.stop_tokens
        request.cached -= request.cached % size
        request.to_make = max(1, request.answer)
        self._blocks -= held - request.blocks
        self._count += 1
        heapq.heappush(self._again, (request.arrived, self._count, request))
        return 0

    # -- a stretch of steps ----------------------------------------------------------------------------------

    def _unchanged(self, gap: float) -> int:
        """How many steps from this one on are alike: until a part ends, the next request comes in `gap`
        seconds, or the cache is full. This step's blocks are taken."""
        while (top := self._ends[0])[2].state != DECODING or top[2].end_step != top[0]:
            heapq.heappop(self._ends)
        steps = self._ends[0][0] - self._step
        decoding = len(self._decoding)
        last = self.steps.seconds(decoding, self._context + decoding * (steps - 1), 0, 0, 0)
        if steps * last > gap:
            steps = max(1, int(gap / last))
        while steps > 1 and self._blocks + self._growth(steps) > self.limits.kv_blocks:
            steps //= 2
        return steps

    def _growth(self, steps: int) -> int:
        """Blocks that running requests need for the steps after this one, `steps` in all."""
        size = self.limits.block_size
        whole, rest = divmod(steps - 1, size)
        return whole * len(self._decoding) + sum(
            self._growing[(self._step + 1 + offset) % size] for offset in range(rest)
        )

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
            share = min(room - computed, request.to_compute)
            if share <= 0:
                break
            computed += share
            if self._compute(request, share):
                self._partial.popleft()
                begun.append(request)
        while computed < room and (self._again or self._new):
            request = self._again[0][2] if self._again else self._new[0]
            if len(self._decoding) + len(self._partial) + len(begun) >= self.limits.max_num_seqs:
                break
            need = self._whole(request.cached + request.to_compute) - request.blocks
            while self._blocks + need > self.limits.kv_blocks and self._forget(keep=request):
                pass
            if self._blocks + need > self.limits.kv_blocks:
                break
            self._take(need)
            request.blocks = 0
            if self._again:
                heapq.heappop(self._again)
            else:
                self._new.popleft()
            share = min(room - computed, request.to_compute)
            computed += share
            if self._compute(request, share):
                begun.append(request)
            else:
                self._partial.append(request)
        return computed, begun

    def _compute(self, request: Request, share: int) -> bool:
        """Compute so many tokens of its prompt; whether that is all."""
        if share == request.to_compute:
            return True
        request.to_compute -= share
        request.cached += share
        return False

    def _take(self, blocks: int) -> None:
        self._blocks += blocks
        self._peak = max(self._peak, self._blocks)

    def _whole(self, tokens: int) -> int:
        return -(-tokens // self.limits.block_size)

    def _forget(self, keep: Request | None = None) -> bool:
        """Give up the cached prefix of the waiting reply that was cut first; False if there is none."""
        holders = [entry[1:] for entry in self._again if entry[2].blocks and entry[2] is not keep]
        if not holders:
            return False
        _, first = min(holders, key=lambda entry: entry[0])
        self._blocks -= first.blocks
        first.to_compute += first.cached
        first.cached = first.blocks = 0
        return True

    def _restart(self) -> None:
        """The running request that came last loses its cache, and computes all it had once more."""
        last = max(self._decoding.values(), key=lambda request: request.arrived)
        made = self._leave(last)
        self._blocks -= self._whole(last.cached)
        last.made += made
        last.restarts += 1
        self._restarts += 1
        last.to_make -= made
        # The last token that it made was not cached yet.
        last.to_compute, last.cached, last.blocks = last.cached + 1, 0, 0
        last.state = WAITING
        self._count += 1
        heapq.heappush(self._again, (last.arrived, self._count, last))
