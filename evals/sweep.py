"""Run a budget sweep: draw the replies that a store lacks, with bounded concurrency.

Forked mode draws one uncut trace for each problem and sample and answers every smaller budget from its
prefixes; the law of the first b tokens does not depend on where a run is stopped later, so each point is
an unbiased estimate of the accuracy at that budget, and the points are paired. Direct mode asks the
server for every budget.
"""

import asyncio
import platform
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import product

from clients import APIError, AsyncClient
from evals.budgets import Budget, sort_budgets
from evals.endpoint import Endpoint, describe
from evals.problems import Problem, load
from evals.progress import Progress
from evals.records import Failure, Kind, Record, problem_hash
from evals.sampling import Sampler
from evals.settings import SweepSettings
from evals.store import Store
from evals.traces import Cut, cut_at

# The server refuses this request, but others may succeed: note it and go on. Anything else ends the sweep.
_REFUSALS = (400, 413, 422)


@dataclass(frozen=True, slots=True)
class SweepResult:
    """How a sweep ended: replies drawn now, tokens generated for them, and requests the server refused."""

    replies: int
    generated_tokens: int
    failures: list[Failure]


def run_sweep(
    settings: SweepSettings,
    base_url: str,
    model: str | None = None,
    problems: Sequence[Problem] | None = None,
) -> SweepResult:
    """Draw every reply of a sweep that its store lacks yet.

    base_url: the server's root; model: a served name, None for the first. problems: to ask instead of loading
    `settings.problems`, which then only names them. A run directory that exists is
    resumed. Raises ValueError for settings that do not fit the store or the server,
    `evals.store.StoreBusyError` while another sweep writes it, clients.APIError or httpx.TransportError
    when the server fails; the store stays resumable.
    """
    if problems is None:
        problems = load(settings.problems, limit=settings.limit)
    return asyncio.run(_run(settings, base_url, model, problems))


async def _run(
    settings: SweepSettings, base_url: str, model: str | None, problems: Sequence[Problem]
) -> SweepResult:
    async with AsyncClient(base_url, timeout=3600) as client:
        endpoint = await describe(base_url, client, model)
        _check_endpoint(endpoint, settings, base_url)
        stored = {
            "problems": settings.problems,
            "model": endpoint.model,
            "max_model_len": endpoint.max_model_len,
            "mode": settings.mode,
            "thinking_format": endpoint.thinking_settings(),
            "sampling": settings.sampling(),
        }
        plan = {
            "budgets": sort_budgets(settings.budgets),
            "samples": settings.samples,
            "problems": {problem.id: problem_hash(problem) for problem in problems},
        }
        versions = {"thinkdial": version("thinkdial"), "python": platform.python_version()}
        with Store.open(settings.out, stored, plan, versions) as store:
            sweep = _Sweep(Sampler(client, endpoint, settings), endpoint, settings, store)
            return await sweep.run(problems)


def _check_endpoint(endpoint: Endpoint, settings: SweepSettings, base_url: str) -> None:
    if settings.mode == "forked" and endpoint.thinking is None:
        raise ValueError(
            f"mode: {base_url} has no /v1/thinking/format, so traces cannot be cut as it would cut them; "
            "measure it with --mode direct"
        )


class _Sweep:
    def __init__(self, sampler: Sampler, endpoint: Endpoint, settings: SweepSettings, store: Store) -> None:
        self._sampler = sampler
        self._endpoint = endpoint
        self._settings = settings
        self._store = store
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._replies = self._tokens = 0
        self._failures: list[Failure] = []

    async def run(self, problems: Sequence[Problem]) -> SweepResult:
        units = list(product(problems, range(self._settings.samples)))
        pending = [unit for unit in units if not self._complete(*unit)]
        queue = iter(pending)
        with Progress(len(units), len(units) - len(pending)) as progress:
            # As many workers as slots: the forks of a trace wait behind at most the other workers'
            # requests, so they are sent while its prefix is in the server's cache.
            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(min(self._settings.concurrency, len(pending))):
                        workers.create_task(self._work(queue, progress))
            except ExceptionGroup as group:
                raise _first_error(group) from group
        return SweepResult(self._replies, self._tokens, self._failures)

    async def _work(self, queue: Iterator[tuple[Problem, int]], progress: Progress) -> None:
        for problem, sample in queue:
            async with asyncio.TaskGroup() as replies:
                if self._settings.mode == "direct":
                    for budget in self._settings.budgets:
                        replies.create_task(self._chat("direct", problem, sample, budget, progress))
                else:
                    if 0 in self._settings.budgets:
                        replies.create_task(self._chat("no_think", problem, sample, 0, progress))
                    if any(budget != 0 for budget in self._settings.budgets):
                        replies.create_task(self._trace_and_forks(problem, sample, progress))
            progress.unit()

    async def _trace_and_forks(self, problem: Problem, sample: int, progress: Progress) -> None:
        trace = await self._chat("trace", problem, sample, "max", progress)
        if trace is None:
            return
        async with asyncio.TaskGroup() as forks:
            for budget, cut in self._cuts(trace):
                forks.create_task(self._fork(problem, trace, budget, cut, progress))

    async def _chat(
        self, kind: Kind, problem: Problem, sample: int, budget: Budget, progress: Progress
    ) -> Record | None:
        key = self._sampler.key(kind, problem, sample, budget)
        if key not in self._store.records:
            draw = partial(self._sampler.chat, kind, problem, sample, budget)
            await self._store_reply(draw, key, problem, sample, budget, progress)
        return self._store.records.get(key)

    async def _fork(self, problem: Problem, trace: Record, budget: int, cut: Cut, progress: Progress) -> None:
        key = self._sampler.key("fork", problem, trace.sample, budget)
        if key not in self._store.records:
            draw = partial(self._sampler.fork, problem, trace, budget, cut)
            await self._store_reply(draw, key, problem, trace.sample, budget, progress)

    async def _store_reply(
        self,
        draw: Callable[[], Awaitable[Record]],
        key: str,
        problem: Problem,
        sample: int,
        budget: Budget,
        progress: Progress,
    ) -> None:
        async with self._slots:
            try:
                record = await draw()
            except APIError as error:
                if error.status not in _REFUSALS:
                    raise
                failure = Failure(key, problem.id, sample, budget, str(error))
                self._store.add_failure(failure)
                self._failures.append(failure)
                return
        self._store.add(record)
        self._replies += 1
        self._tokens += record.generated_tokens or 0
        progress.reply(record.generated_tokens or 0)

    def _cuts(self, trace: Record) -> list[tuple[int, Cut]]:
        """The budgets that cut a trace, and where."""
        assert self._endpoint.thinking is not None
        assert trace.token_ids is not None
        cuts = []
        ended = trace.finish_reason == "stop"
        for budget in self._settings.budgets:
            if isinstance(budget, int) and budget != 0:
                cut = cut_at(trace.token_ids, budget, self._endpoint.thinking, ended)
                if cut is not None:
                    cuts.append((budget, cut))
        return cuts

    def _complete(self, problem: Problem, sample: int) -> bool:
        """Whether the store holds every reply of a problem and sample."""
        records, key = self._store.records, self._sampler.key
        if self._settings.mode == "direct":
            return all(key("direct", problem, sample, budget) in records for budget in self._settings.budgets)
        if 0 in self._settings.budgets and key("no_think", problem, sample, 0) not in records:
            return False
        if all(budget == 0 for budget in self._settings.budgets):
            return True
        trace = records.get(key("trace", problem, sample, "max"))
        return trace is not None and all(
            key("fork", problem, sample, budget) in records for budget, _ in self._cuts(trace)
        )


def _first_error(group: ExceptionGroup) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
