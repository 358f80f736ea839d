"""Run a load test: measure a server's capacity, then load it and a server that sheds load, one at a time.

`1x` is `utilisation` times the replies a second of a server that always has `concurrency` requests to
answer: a load that it carries with room for chance. The target is `--latency-target`, or `TARGET` times the
95th percentile that the server without shedding has at the smallest load. Both servers get the same requests
at the same times.
"""

import random
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from clients.wire import auth_headers
from evals.load.client import Answered, open_loop, saturate
from evals.load.store import LoadStore, Row
from evals.problems import Problem, load
from evals.problems.prompts import prompt
from evals.profile import family_of
from evals.records import problem_hash
from evals.stats.latency import quantile
from evals.sweep.presets import GREEDY, Sampling
from serve.bench.load import chat_request

Arm = Literal["plain", "shedding"]
"""A server without load shedding, and one with it."""

ARMS: tuple[Arm, ...] = ("plain", "shedding")
TARGET = 2.0
QUANTILE = 0.95
WARM_REQUESTS = 24

Serve = Callable[[Arm, float | None], AbstractContextManager[str]]
"""Gives the root URL of a server: of which arm, and with which latency target."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """A load test.

    problems, limit, prompt: as of a sweep. loads: multiples of the capacity, each for `seconds` of arrivals.
    utilisation: of a saturated server's throughput is 1x. concurrency: requests that saturate it.
    max_num_seqs: requests that each server's engine runs at once; None is vLLM's default.
    latency_target: in seconds; None is read off the first load. families: requests say which kind of problem
    they are (`thinking.family`), so that budgets are lowered by family. max_tokens: most tokens of a reply.
    seed: of arrivals, order of problems, and sampling. Raises ValueError naming what is wrong.
    """

    out: Path
    problems: tuple[str, ...]
    limit: int | None = None
    prompt: str | None = None
    loads: tuple[float, ...] = (1.0, 2.0, 4.0)
    seconds: float = 30.0
    utilisation: float = 0.7
    concurrency: int = 64
    max_num_seqs: int | None = None
    latency_target: float | None = None
    families: bool = False
    sampling: Sampling = GREEDY
    max_tokens: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.loads or min(self.loads) <= 0 or sorted(set(self.loads)) != [*self.loads]:
            given = ", ".join(f"{load:g}" for load in self.loads) or "none"
            raise ValueError(
                f"loads: {given} is wrong; give multiples of the capacity above 0, ascending, each once, "
                "e.g. 1,2,4"
            )
        for name in ("seconds", "latency_target"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name}: {value:g} is no time; give seconds above 0")
        if not 0 < self.utilisation <= 1:
            raise ValueError(f"utilisation: {self.utilisation:g} is no share; give above 0, at most 1")
        for name in ("concurrency", "max_num_seqs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: {value} is too few; give 1 or more")

    def stored(self, model: str, problems: Sequence[Problem]) -> Row:
        """What the numbers depend on, as the store keeps it."""
        return {
            "model": model,
            "problems": list(self.problems),
            "asked": {problem.id: problem_hash(problem) for problem in problems},
            "prompt": self.prompt,
            "loads": list(self.loads),
            "seconds": self.seconds,
            "utilisation": self.utilisation,
            "concurrency": self.concurrency,
            "max_num_seqs": self.max_num_seqs,
            "latency_target": self.latency_target,
            "families": self.families,
            "sampling": {**self.sampling.to_json(), "max_tokens": self.max_tokens, "seed": self.seed},
        }


def run_load_test(settings: LoadSettings, model: str, serve: Serve, api_key: str | None = None) -> None:
    """Measure what the directory of `settings` lacks yet.

    model: what is served, as the report calls it. Raises ValueError for settings that do not fit the
    directory, RuntimeError when a server does not start or answers the first requests with errors.
    """
    problems = load(settings.problems, limit=settings.limit)
    store = LoadStore(settings.out, settings.stored(model, problems))
    for arm in ARMS:
        todo = [load for load in settings.loads if store.find("level", arm=arm, load=load) is None]
        if not todo:
            continue
        target = None if arm == "plain" else _target(settings, store)["seconds"]
        with serve(arm, target) as base_url:
            families = _families(base_url, api_key) if settings.families else ()
            name = served_model(base_url, api_key)
            bodies = [_body(settings, name, problem, families) for problem in problems]
            requests = [chat_request(base_url, body, api_key) for body in bodies]
            warm = [requests[i % len(requests)] for i in range(WARM_REQUESTS)]
            saturate(base_url, warm, 1, 1.0)
            if store.find("capacity") is None:
                _say(f"capacity: {settings.concurrency} requests at any time, {settings.seconds:g} s")
                store.add([_capacity(settings, base_url, requests)])
            for multiple in todo:
                _level(settings, store, base_url, arm, multiple, problems, requests)


def _families(base_url: str, api_key: str | None) -> Sequence[str]:
    """The kinds of problems that the server's profile knows; none on one without a profile."""
    response = httpx.get(f"{base_url}/v1/thinking/profile", headers=auth_headers(api_key), timeout=30)
    return tuple(response.json()["families"]) if response.status_code == httpx.codes.OK else ()


def _body(settings: LoadSettings, model: str, problem: Problem, families: Sequence[str]) -> dict[str, Any]:
    turns = problem.messages or (("user", prompt(problem, settings.prompt)),)
    parameters = {n: v for n, v in asdict(settings.sampling.thinking).items() if v is not None}
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": role, "content": text} for role, text in turns],
        **parameters,
    }
    if settings.max_tokens is not None:
        body["max_tokens"] = settings.max_tokens
    if not settings.sampling.greedy:
        body["seed"] = settings.seed
    family = family_of(problem.set, problem.subject)
    if family in families:
        body["thinking"] = {"family": family}
    return body


def _capacity(settings: LoadSettings, base_url: str, requests: Sequence[bytes]) -> Row:
    order = list(requests)
    random.Random(settings.seed).shuffle(order)
    return {
        "kind": "capacity",
        "requests_per_second": saturate(base_url, order, settings.concurrency, settings.seconds),
        "concurrency": settings.concurrency,
        "seconds": settings.seconds,
    }


def _target(settings: LoadSettings, store: LoadStore) -> Row:
    """The time in which replies should be complete; stored once it is known."""
    if (stored := store.find("target")) is not None:
        return stored
    if settings.latency_target is not None:
        row = {"kind": "target", "seconds": settings.latency_target, "from": "as given"}
    else:
        first = settings.loads[0]
        times = [
            row["ended"] - row["due"]
            for row in store.rows
            if row["kind"] == "reply" and row["arm"] == "plain" and row["load"] == first and row["ended"]
        ]
        seconds = TARGET * quantile(times, QUANTILE)
        why = f"{TARGET:g} times the 95th percentile at {first:g}x without shedding"
        row = {"kind": "target", "seconds": round(seconds, 3), "from": why}
    store.add([row])
    return row


def _level(
    settings: LoadSettings,
    store: LoadStore,
    base_url: str,
    arm: Arm,
    multiple: float,
    problems: Sequence[Problem],
    requests: Sequence[bytes],
) -> None:
    """Load a server, and store what became of every request."""
    capacity = store.find("capacity")
    assert capacity is not None
    rate = multiple * settings.utilisation * capacity["requests_per_second"]
    schedule = arrivals(rate, settings.seconds, len(problems), seed=f"{settings.seed} {multiple:g}")
    _say(f"{arm} at {multiple:g}x: {len(schedule)} requests in {settings.seconds:g} s")
    answered = open_loop(base_url, [(due, requests[which]) for due, which in schedule])
    rows = [
        _reply(arm, multiple, index, problems[which], reply)
        for index, ((_, which), reply) in enumerate(zip(schedule, answered, strict=True))
    ]
    end = {"kind": "level", "arm": arm, "load": multiple, "rate": rate, "seconds": settings.seconds}
    store.add([*rows, {**end, "replies": len(rows)}])


def arrivals(rate: float, seconds: float, problems: int, seed: str) -> list[tuple[float, int]]:
    """A Poisson process of `rate` a second: when each request is due, and which problem it asks.

    Problems come in rounds of all of them, each in an order of its own.
    """
    rng = random.Random(seed)
    schedule: list[tuple[float, int]] = []
    order: list[int] = []
    due = rng.expovariate(rate)
    while due < seconds:
        order = order or rng.sample(range(problems), problems)
        schedule.append((due, order.pop()))
        due += rng.expovariate(rate)
    return schedule


def _reply(arm: Arm, load: float, index: int, problem: Problem, reply: Answered) -> Row:
    return {
        "kind": "reply",
        "arm": arm,
        "load": load,
        "index": index,
        "problem": problem.id,
        "gold": problem.answer,
        "subject": problem.subject,
        "level": problem.level,
        **asdict(reply),
    }


def served_model(base_url: str, api_key: str | None = None) -> str:
    """The name of a server's model. Raises httpx.HTTPError when it does not tell."""
    response = httpx.get(f"{base_url}/v1/models", headers=auth_headers(api_key), timeout=30)
    return str(response.raise_for_status().json()["data"][0]["id"])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
