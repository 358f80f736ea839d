"""vLLM requests that can be interrupted without losing a token, and that fail with their engine."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from vllm.logprobs import Logprob
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.v1.engine.async_llm import AsyncLLM, InputStreamError
from vllm.v1.engine.core_client import DPLBAsyncMPClient
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.output_processor import RequestOutputCollector, RequestState


@dataclass(frozen=True, slots=True)
class Partial:
    """What an unfinished choice has generated.

    rank: the data-parallel rank that has its KV cache, if any. source: its request's output so far, for what
    that tells of the prompt; of an interrupted request only.
    """

    token_ids: list[int]
    logprobs: list[dict[int, Logprob]] | None
    rank: int | None = None
    source: RequestOutput | None = None

    def after(self, count: int) -> "Partial":
        """Without its first `count` tokens."""
        logprobs = None if self.logprobs is None else self.logprobs[count:]
        return replace(self, token_ids=self.token_ids[count:], logprobs=logprobs)


class Interrupted(Exception):  # noqa: N818 - not an error, as asyncio.CancelledError is none
    """A request was interrupted, and vLLM has dropped it.

    pending: its last output that had not been read. partial: its unfinished choices, by index.
    finished: its finished choices, if they had not been part of an output.
    """

    def __init__(
        self,
        pending: RequestOutput | None,
        partial: dict[int, Partial],
        finished: list[CompletionOutput],
    ) -> None:
        super().__init__("interrupted")
        self.pending = pending
        self.partial = partial
        self.finished = finished


class InterruptibleLLM(AsyncLLM):
    """`AsyncLLM` whose requests can be interrupted, and tell which data-parallel rank they run on.

    Request ids must be unique among running requests. A request that its engine drops because it is made to
    end is an error: EngineDeadError.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._queues: WeakValueDictionary[str, RequestOutputCollector] = WeakValueDictionary()
        self._ranks: WeakKeyDictionary[RequestOutputCollector, int] = WeakKeyDictionary()
        self._early: set[str] = set()

    async def generate(self, *args: Any, **kwargs: Any) -> AsyncGenerator[RequestOutput, None]:
        async with aclosing(super().generate(*args, **kwargs)) as outputs:
            async for output in outputs:
                if output.finished and self._is_ending() and _is_dropped(output):
                    raise EngineDeadError
                yield output

    def _is_ending(self) -> bool:
        """Whether engines are made to end: by the server, or by vLLM because one of them has died.

        This is set before they are signalled; that the engine is dead, only after they have ended.
        """
        manager = self.engine_core.resources.engine_manager
        return manager is not None and manager.manager_stopped.is_set()

    async def add_request(self, request_id: str, *args: Any, **kwargs: Any) -> RequestOutputCollector:
        try:
            queue = await super().add_request(request_id, *args, **kwargs)
        finally:
            early = request_id in self._early
            self._early.discard(request_id)
        self._queues[request_id] = queue
        for internal_id in self.output_processor.external_req_ids.get(request_id, ()):
            if (rank := self._rank_of(internal_id)) is not None:
                self._ranks[queue] = rank
        if early:
            self.interrupt(request_id)
        return queue

    def rank(self, request_id: str) -> int | None:
        """The rank that vLLM has chosen for a running request with one choice; None if there is but one."""
        queue = self._queues.get(request_id)
        return None if queue is None else self._ranks.get(queue)

    def _rank_of(self, internal_id: str) -> int | None:
        """As `rank`, by vLLM's own id of the request; of this server's ranks, as `data_parallel_rank` is."""
        client = self.engine_core
        if not isinstance(client, DPLBAsyncMPClient):
            return None  # one rank, or a load balancer in front of this server
        engine = client.reqs_in_flight.get(internal_id)
        return None if engine is None else client.core_engines.index(engine)

    def interrupt(self, request_id: str) -> bool:
        """Drop the request: its `generate` raises Interrupted. False if it has already finished.

        A request that has not been added yet is dropped when it is.
        """
        queue = self._queues.get(request_id)
        if queue is None:
            self._early.add(request_id)
            return True
        pending = queue.output
        if isinstance(pending, Exception) or (isinstance(pending, RequestOutput) and pending.finished):
            return False
        states = self._states(queue)
        nothing = CompletionOutput(index=0, text="", token_ids=[], cumulative_logprob=None, logprobs=None)
        partial = {}
        for state in states:
            source = state._new_request_output(request_id, [nothing], finished=False)
            assert isinstance(source, RequestOutput)
            partial[state.request_index] = replace(self._partial(state), source=source)
        parents = [state.parent_req for state in states[:1] if state.parent_req is not None]
        finished = [output for parent in parents for output in parent.output_aggregator if output is not None]
        queue.output = None
        # The one error that vLLM's `generate` raises as it is, after it has dropped the request.
        queue.put(InputStreamError(Interrupted(pending, partial, finished)))
        return True

    def partial(self, request_id: str) -> dict[int, Partial]:
        """What the unfinished choices of a request have generated so far, by index."""
        queue = self._queues.get(request_id)
        return {} if queue is None else {s.request_index: self._partial(s) for s in self._states(queue)}

    def _states(self, queue: RequestOutputCollector) -> list[RequestState]:
        return [state for state in self.output_processor.request_states.values() if state.queue is queue]

    def _partial(self, state: RequestState) -> Partial:
        assert state.detokenizer is not None
        assert state.logprobs_processor is not None
        logprobs = state.logprobs_processor.logprobs
        return Partial(
            list(state.detokenizer.output_token_ids),
            None if logprobs is None else list(logprobs),
            self._rank_of(state.request_id),
        )


def _is_dropped(output: RequestOutput) -> bool:
    """Whether a choice was ended by its engine; to clients of vLLM that looks like any other end."""
    return any(choice.finish_reason == "abort" for choice in output.outputs)
