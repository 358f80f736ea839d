"""Between the engine and `Shedding`: vLLM's statistics of each step, and each reply's beginning and end."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from time import monotonic
from typing import Any

from vllm.config import VllmConfig
from vllm.outputs import RequestOutput
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

from serve.budget import ThinkingBudget
from serve.profile import ThinkingProfile
from serve.shedding import Shedding, smaller
from serve.trace import LiveThinking, ThinkingTracker


class StepWatch(StatLoggerBase):
    """Tells `Shedding` of the steps of one engine."""

    def __init__(self, shedding: Shedding, rank: int) -> None:
        self._shedding = shedding
        self._rank = rank

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        if scheduler_stats is None:
            return
        tokens = outputs = started = 0
        if iteration_stats is not None:
            tokens = iteration_stats.num_generation_tokens
            started = len(iteration_stats.time_to_first_tokens_iter)
            outputs = started + len(iteration_stats.inter_token_latencies_iter)
        waiting = scheduler_stats.num_waiting_reqs
        self._shedding.step(
            monotonic(),
            tokens=tokens,
            outputs=outputs,
            started=started,
            unfinished=scheduler_stats.num_running_reqs + waiting,
            waiting=waiting,
            rank=self._rank,
        )

    def log_engine_initialized(self) -> None:
        """Nothing of ours is in vLLM's log."""


def step_watches(shedding: Shedding) -> Callable[[VllmConfig, int], StatLoggerBase]:
    """What makes a `StepWatch` for each engine."""
    return lambda config, rank: StepWatch(shedding, rank)


def make_shedding(
    profile: ThinkingProfile, target: float, floor: int | float, config: VllmConfig
) -> Shedding:
    """Load shedding for a server. floor: the least ceiling, tokens or (a float) the accuracy that it keeps.

    A family whose curve never reaches that accuracy is not lowered.
    """
    floors: dict[str | None, int | None] = {}
    for name in (None, *profile.families):
        try:
            curve = profile.curve(name)
            floors[name] = curve.budget_for_accuracy(floor) if isinstance(floor, float) else floor
        except ValueError:
            floors[name] = None
    return Shedding(
        profile,
        target,
        floors=floors,
        slots=config.scheduler_config.max_num_seqs,
        ranks=config.parallel_config.data_parallel_size,
    )


async def counted(
    stream: AsyncGenerator[RequestOutput, None],
    shedding: Shedding,
    request: LiveThinking | None,
    asked: ThinkingBudget,
    trackers: Sequence[ThinkingTracker],
) -> AsyncGenerator[RequestOutput, None]:
    """`stream`, with its choices counted while they run. request: the HTTP request that it is for, if any."""
    shedding.read(request)
    for tracker in trackers:
        requested = smaller(tracker.grant.requested, asked.ceiling)
        shedding.enter(tracker.arrival, id(tracker), asked.family, requested, tracker.grant.budget)
    try:
        async with aclosing(stream) as outputs:
            async for output in outputs:
                yield output
    finally:
        for tracker in trackers:
            ended = tracker.finished_at is not None
            shedding.leave(
                monotonic(),
                id(tracker),
                tracker.tokens if ended else None,
                tracker.answer_tokens if ended else None,
            )
