"""A server in discrete time, to try load shedding on: batched steps, Poisson arrivals, known lengths."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serve.profile import BudgetCurve, CurvePoint, ThinkingProfile
from serve.shedding import Shedding

ANSWER = 10


@dataclass
class Reply:
    """One simulated reply; `natural` is how long it would think."""

    arrived: float
    family: str | None
    natural: int
    budget: int | None
    ceiling: int | None
    to_do: int = 0
    cut: bool = False
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        return self.ended - self.arrived

    @property
    def right(self) -> bool:
        return not self.cut


@dataclass(frozen=True)
class Machine:
    """Seconds of a step: of itself, of a token, of a request that starts. slots: that run at once."""

    overhead: float = 0.003
    per_token: float = 0.00025
    per_start: float = 0.003
    slots: int = 256


def profile_of(lengths: dict[str | None, Sequence[int]], budgets: Sequence[int]) -> ThinkingProfile:
    """The profile of replies that are right if they end by themselves, by family; None is all of them."""

    def curve(natural: Sequence[int]) -> BudgetCurve:
        points = []
        for budget in (*budgets, None):
            used = [n if budget is None else min(n, budget) for n in natural]
            right = sum(used[i] == n for i, n in enumerate(natural)) / len(natural)
            points.append(CurvePoint(budget, right, right, right, right, sum(used) / len(used)))
        return BudgetCurve(tuple(points), {})

    families = {name: curve(natural) for name, natural in lengths.items() if name is not None}
    everything = lengths.get(None) or [n for natural in lengths.values() for n in natural]
    return ThinkingProfile("simulated", None, curve(everything), families, "", {})


def simulate(
    shedding: Shedding | None,
    rate: Callable[[float], float],
    seconds: float,
    lengths: dict[str | None, Sequence[int]],
    *,
    requested: int | None = None,
    machine: Machine | None = None,
    seed: int = 0,
) -> list[Reply]:
    """Replies to requests that arrive at `rate(time)` a second for `seconds`, in order of arrival."""
    machine = machine or Machine()
    rng = random.Random(seed)
    families = list(lengths)
    arrivals: deque[Reply] = deque()
    now = 0.0
    while (now := now + rng.expovariate(rate(now))) < seconds:
        family = rng.choice(families)
        arrivals.append(Reply(now, family, rng.choice(lengths[family]), None, None))
    replies = list(arrivals)
    waiting: deque[Reply] = deque()
    running: list[Reply] = []
    now = 0.0
    while arrivals or waiting or running:
        if not (waiting or running):
            now = max(now, arrivals[0].arrived)
        while arrivals and arrivals[0].arrived <= now:
            reply = arrivals.popleft()
            reply.ceiling = None if shedding is None else shedding.ceiling(reply.arrived, reply.family)
            limits = [limit for limit in (requested, reply.ceiling) if limit is not None]
            reply.budget = min(limits, default=None)
            thinking = reply.natural if reply.budget is None else min(reply.natural, reply.budget)
            reply.cut = thinking < reply.natural
            reply.to_do = thinking + ANSWER
            if shedding is not None:
                shedding.enter(reply.arrived, id(reply), reply.family, requested, reply.budget)
            waiting.append(reply)
        starting = [waiting.popleft() for _ in range(min(len(waiting), machine.slots - len(running)))]
        running += starting
        started = len(starting)
        for reply in running:
            reply.to_do -= 1
            # A cut goes on as one more request.
            started += reply.cut and reply.to_do == ANSWER
        noise = rng.uniform(0.5, 1.5)
        now += noise * (machine.overhead + machine.per_token * len(running) + machine.per_start * started)
        tokens = len(running)
        for reply in running:
            if reply.to_do == 0:
                reply.ended = now
                if shedding is not None:
                    shedding.leave(now, id(reply), _thinking(reply), ANSWER)
        running = [reply for reply in running if reply.to_do]
        if shedding is not None:
            shedding.step(
                now,
                tokens=tokens,
                outputs=tokens,
                started=started,
                unfinished=len(running) + len(waiting),
                waiting=len(waiting),
            )
    return replies


def _thinking(reply: Reply) -> int:
    return reply.natural if reply.budget is None else min(reply.natural, reply.budget)


def p95(replies: Sequence[Reply]) -> float:
    ordered = sorted(reply.seconds for reply in replies)
    return ordered[int(0.95 * (len(ordered) - 1))]


def saturated(lengths: Sequence[int], machine: Machine | None = None, concurrency: int = 64) -> float:
    """Replies a second of the machine when so many requests run at any time."""
    machine = machine or Machine()
    return 1 / work(sum(lengths) / len(lengths), machine, concurrency)


def work(thinking: float, machine: Machine, concurrency: int = 64) -> float:
    """Seconds that a reply takes of a machine on which so many others run."""
    per_token = machine.per_token + machine.overhead / concurrency
    return (thinking + ANSWER) * per_token + machine.per_start
