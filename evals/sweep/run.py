"""Run a budget sweep: draw the replies that a store lacks, with bounded concurrency.

Forked mode draws one uncut trace for each problem and sample and answers every smaller budget from its
prefixes; the law of the first b tokens does not depend on where a run is stopped later, so each point is
an unbiased estimate of the accuracy at that budget, and the points are paired. Direct mode asks the
server for every budget. A crosscheck draws a random share of a forked run's points both ways.
"""

import asyncio
import platform
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from clients import APIError
from evals.account import Session, read_account, totals
from evals.budgets import Budget, is_share, limit_of, sort_budgets
from evals.problems import Problem, load
from evals.questions import store_questions
from evals.records import Failure, Kind, Record, problem_hash
from evals.store import Store, iter_records, read_manifest
from evals.sweep.crosscheck import is_crosschecked
from evals.sweep.dialects import Dialect, choose
from evals.sweep.endpoint import Endpoint
from evals.sweep.endpoints import Endpoints
from evals.sweep.progress import Progress
from evals.sweep.sampling import Sampler
from evals.sweep.settings import SweepSettings
from evals.sweep.traces import Cut, cut_at

# The server refuses this request, but others may succeed: note it and go on. Anything else ends the sweep.
_REFUSALS = (400, 413, 422)


@dataclass(frozen=True, slots=True)
class SweepResult:
    """How a sweep ended.

    replies, generated_tokens: drawn now. failures: requests the server refused. over_budget: replies drawn
    now that thought longer than asked. account: of the whole run, see `evals.account.totals`.
    """

    replies: int
    generated_tokens: int
    failures: list[Failure]
    over_budget: int
    account: dict[str, Any]


def run_sweep(
    settings: SweepSettings,
    base_urls: str | Sequence[str],
    model: str | None = None,
    api_key: str | None = None,
    problems: Sequence[Problem] | None = None,
) -> SweepResult:
    """Draw every reply of a sweep that its store lacks yet.

    base_urls: root of a server, or of several with the same model; model: a served name, None for the first.
    problems: to ask instead of loading `settings.problems`, which then only names them.
    A run directory that exists is resumed. Raises ValueError for settings that do not fit the store or the
    servers, `evals.store.StoreBusyError` while another sweep writes it, clients.APIError or httpx.HTTPError
    when a server fails and goes on failing; the store stays resumable.
    """
    urls = [base_urls] if isinstance(base_urls, str) else list(base_urls)
    asked = load(settings.problem_sets, limit=settings.limit) if problems is None else problems
    return asyncio.run(_run(settings, urls, model, api_key, asked))


async def _run(
    settings: SweepSettings,
    base_urls: Sequence[str],
    model: str | None,
    api_key: str | None,
    problems: Sequence[Problem],
) -> SweepResult:
    async with Endpoints.open(base_urls, model, api_key, settings.retries) as endpoints:
        endpoint = endpoints.described
        dialect = dialect_of(settings, endpoint, base_urls[0])
        plan = {
            "budgets": sort_budgets(settings.budgets),
            "samples": settings.samples,
            "problems": {problem.id: problem_hash(problem) for problem in problems},
            "crosscheck": settings.crosscheck,
            "confidence": settings.confidence,
        }
        versions = {"thinkdial": version("thinkdial"), "python": platform.python_version()}
        stored = settings.stored(endpoint, dialect, problems)
        with Store.open(settings.out, stored, plan, versions) as store:
            store_questions(settings.out, problems)
            sampler = Sampler(endpoints, dialect, settings, stored)
            if settings.reuse is not None:
                _copy(settings.reuse, store, sampler, settings, problems)
            return await _Sweep(sampler, endpoints, settings, store).run(problems)


def dialect_of(settings: SweepSettings, endpoint: Endpoint, base_url: str) -> Dialect:
    """The dialect of a sweep, once it is sure that it can ask for all that is wanted.

    Raises ValueError naming the setting that does not fit the server.
    """
    if settings.mode == "forked" and endpoint.thinking is None:
        raise ValueError(
            f"mode: {base_url} has no /v1/thinking/format, so traces cannot be cut as it would cut them; "
            "measure it with --mode direct"
        )
    dialect = choose(settings.dialect, base_url, endpoint.thinking is not None)
    sampling = settings.sampling
    asked = [budget for budget in settings.budgets if not is_share(budget)]
    dialect.check(asked, (sampling.thinking, sampling.no_thinking))
    return dialect


def _copy(
    source: Path, store: Store, sampler: Sampler, settings: SweepSettings, problems: Sequence[Problem]
) -> None:
    """Copy the replies of another run that do not depend on where a trace is cut."""
    read_manifest(source)
    uncut: tuple[tuple[Kind, Budget], ...] = (("trace", "max"), ("no_think", 0))
    wanted = {
        sampler.key(kind, problem, sample, budget)
        for problem, sample, (kind, budget) in product(problems, range(settings.samples), uncut)
    }
    for record in iter_records(source):
        if record.key in wanted and record.key not in store:
            store.add(record)


class _Sweep:
    def __init__(self, sampler: Sampler, endpoints: Endpoints, settings: SweepSettings, store: Store) -> None:
        self.sampler = sampler
        self.endpoints = endpoints
        self.settings = settings
        self.store = store
        self._session = Session(settings.out, settings.prices)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._replies = self._tokens = self._over_budget = 0
        self._failures: list[Failure] = []

    async def run(self, problems: Sequence[Problem]) -> SweepResult:
        units = list(product(problems, range(self.settings.samples)))
        pending = [unit for unit in units if not self._complete(*unit)]
        queue = iter(pending)
        try:
            with Progress(len(units), len(units) - len(pending), self.endpoints) as progress:
                # As many workers as slots: the forks of a trace wait behind at most the other workers'
                # requests, so they are sent while its prefix is in the server's cache.
                async with asyncio.TaskGroup() as workers:
                    for _ in range(min(self.settings.concurrency, len(pending))):
                        workers.create_task(self._work(queue, progress))
        except ExceptionGroup as group:
            raise _first_error(group) from group
        finally:
            self._session.write()
        account = totals(self.store.tally, read_account(self.settings.out))
        return SweepResult(self._replies, self._tokens, self._failures, self._over_budget, account)

    async def _work(self, queue: Iterator[tuple[Problem, int]], progress: Progress) -> None:
        for problem, sample in queue:
            unit = _Unit(self, problem, sample, progress)
            await unit.draw()
            progress.unit(unit.tokens)

    def _complete(self, problem: Problem, sample: int) -> bool:
        """Whether the store holds every reply of a problem and sample."""
        settings, key = self.settings, self.sampler.key
        wanted: list[tuple[str, bool]] = []
        for budget in settings.budgets:
            if settings.mode == "direct":
                wanted.append((key("direct", problem, sample, budget), True))
            elif budget == 0:
                wanted.append((key("no_think", problem, sample, 0), True))
            elif is_crosschecked(settings.crosscheck, settings.seed, problem.id, sample, budget):
                wanted.append((key("direct", problem, sample, budget), False))
        if settings.mode == "forked" and any(budget != 0 for budget in settings.budgets):
            trace_key = key("trace", problem, sample, "max")
            trace = self.store.entry(trace_key)
            if trace is None:
                return False
            wanted.append((trace_key, True))
            natural = trace.thinking_tokens or 0
            for budget in settings.budgets:
                if 0 < limit_of(budget, natural) < natural:
                    wanted.append((key("fork", problem, sample, budget), True))
        if not all(reply in self.store for reply, _ in wanted):
            return False
        return not settings.confidence or all(
            self.sampler.confidence_key(reply) in self.store or not self.store.read(reply).answer.strip()
            for reply, rated in wanted
            if rated
        )

    async def draw(
        self,
        key: str,
        draw: Callable[[], Awaitable[Record]],
        problem: Problem,
        sample: int,
        budget: Budget,
        progress: Progress,
    ) -> Record | None:
        """Draw and store a reply; None if the server refuses it."""
        async with self._slots:
            try:
                record = await draw()
            except APIError as error:
                if error.status not in _REFUSALS:
                    raise
                failure = Failure(key, problem.id, sample, budget, str(error))
                self.store.add_failure(failure)
                self._failures.append(failure)
                return None
        self.store.add(record)
        self._replies += 1
        self._tokens += record.generated_tokens or 0
        if isinstance(budget, int) and (record.thinking_tokens or 0) > budget:
            self._over_budget += 1
        self._session.note(self._replies, self._tokens, self.endpoints.retried)
        progress.reply(record.generated_tokens or 0)
        return record


class _Unit:
    """All replies of one problem and sample. tokens: generated for it now."""

    def __init__(self, sweep: _Sweep, problem: Problem, sample: int, progress: Progress) -> None:
        self.tokens = 0
        self._sweep = sweep
        self._problem = problem
        self._sample = sample
        self._progress = progress
        self._settings = sweep.settings
        self._sampler = sweep.sampler
        self._store = sweep.store

    async def draw(self) -> None:
        """Draw what the store lacks."""
        budgets = self._settings.budgets
        async with asyncio.TaskGroup() as replies:
            if self._settings.mode == "direct":
                for budget in budgets:
                    replies.create_task(self._direct(budget))
                return
            if 0 in budgets:
                replies.create_task(self._chat("no_think", 0))
            if any(budget != 0 for budget in budgets):
                replies.create_task(self._trace_and_forks())

    async def _direct(self, budget: Budget) -> None:
        record = await self._chat("direct", budget)
        if record is not None and isinstance(budget, int) and budget > 0 and record.stop_cause is not None:
            self._progress.points(1, record.stop_cause == "budget")

    async def _trace_and_forks(self) -> None:
        settings = self._settings
        trace = await self._chat("trace", "max", rated=False)
        async with asyncio.TaskGroup() as forks:
            # After the trace, so that the same prompts are in the server's cache and forks come first.
            if trace is not None:
                cuts = self._cuts(trace)
                for budget, cut in cuts:
                    forks.create_task(self._fork(trace, budget, cut))
                limits = sum(budget not in (0, "max") for budget in settings.budgets)
                self._progress.points(limits, len(cuts))
                forks.create_task(self._rate(trace))
            for asked in settings.budgets:
                if is_crosschecked(settings.crosscheck, settings.seed, self._problem.id, self._sample, asked):
                    forks.create_task(self._chat("direct", asked, rated=False))

    def _cuts(self, trace: Record) -> list[tuple[Budget, Cut]]:
        """The budgets that cut a trace, and where."""
        format = self._sweep.endpoints.described.thinking
        assert format is not None
        assert trace.token_ids is not None
        cuts = []
        for budget in self._settings.budgets:
            if budget not in (0, "max"):
                limit = int(limit_of(budget, trace.thinking_tokens or 0))
                cut = cut_at(trace.token_ids, limit, format, trace.finish_reason == "stop")
                if cut is not None:
                    cuts.append((budget, cut))
        return cuts

    async def _chat(self, kind: Kind, budget: Budget, rated: bool = True) -> Record | None:
        key = self._sampler.key(kind, self._problem, self._sample, budget)
        draw = partial(self._sampler.chat, kind, self._problem, self._sample, budget)
        record = await self._stored(key, draw, budget)
        if record is not None and rated:
            await self._rate(record)
        return record

    async def _fork(self, trace: Record, budget: Budget, cut: Cut) -> None:
        key = self._sampler.key("fork", self._problem, self._sample, budget)
        draw = partial(self._sampler.fork, self._problem, trace, budget, cut)
        record = await self._stored(key, draw, budget)
        if record is not None:
            await self._rate(record)

    async def _rate(self, record: Record) -> None:
        """Ask how sure the model is of a reply, if that is wanted and there is an answer."""
        if self._settings.confidence and record.answer.strip():
            draw = partial(self._sampler.confidence, self._problem, record)
            await self._stored(self._sampler.confidence_key(record.key), draw, record.budget)

    async def _stored(self, key: str, draw: Callable[[], Awaitable[Record]], budget: Budget) -> Record | None:
        """The reply with a key: from the store, or drawn into it; None if the server refuses it."""
        if key in self._store:
            return self._store.read(key)
        record = await self._sweep.draw(key, draw, self._problem, self._sample, budget, self._progress)
        self.tokens += (record.generated_tokens or 0) if record is not None else 0
        return record


def _first_error(group: ExceptionGroup) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
