"""Load shedding: under more load than a server can carry, thinking is cut where it buys least. Pure.

Replies that run share the server, so how long one takes is told by the work that all of them still need: the
work *owed*. Requests bring work at `rate * work` seconds a second, and one second of it is done; so with

    rate * work = 1 - (owed - SETPOINT * free) / target

what is owed goes to its set point within about a target time and stays there, whatever the load. `work` is
the mean shared work of a reply (`serve.work`), `free` the target less what a long reply's own steps take. The
law says how much work a reply may be, from what is measured before any reply is late; `allocate` finds who
must be lowered for it, and how far, with least loss of accuracy along the profile's curves.

Nothing is lowered until a part of the target is owed *and* requests bring more than the server does, or a
large part is owed: traffic that the server can carry does not do that. From then on `work` falls at once and
rises slowly, towards what the law allows, until nothing needs to be lowered. Only new requests are lowered:
those that run are the work owed, which is kept to a part of the target.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from serve.allocation import Option, Rule, Share, allocate
from serve.arrivals import Arrivals
from serve.profile import ThinkingProfile
from serve.work import LONG, Lengths, StepFit, StepTimes

SETPOINT = 0.08
"""Share of the time there is that the work owed may take, at first. A reply shares the server with others
that are half done on average, and so takes about twice the work owed, a long one twice that, and requests
come unevenly. How that turns out is seen in replies: the set point moves until one in twenty is late."""
SETPOINTS = (0.02, 0.6)
"""Between these: replies that share the server with hundreds take several times the work owed, those that
wait for one of few slots hardly more than it."""
SETPOINT_WEIGHT = 3.0
"""How fast: when all replies are late, a target time takes the set point down by e to the power of this."""
LATE = 0.9
"""Share of the target at which a reply counts as late."""
ENTRY = 0.2
"""Share of it at which shedding begins, if requests bring work for more than `BUSY` of the server's time."""
BUSY = 0.9
ENTRY_AT_ALL = 0.75
"""Share of it at which shedding begins whatever the rate seems to be: it is counted over some time."""
RELEASE = 2.0
"""Time constant, in targets, of the rise of what a reply may take."""
RATE_WINDOW = 4.0
"""Targets over which arrivals are counted."""
LOOKS = 10
"""How often in a target time the state is judged anew, at most."""
LEARNING = 0.005
"""Weight of a finished reply in what is known of lengths."""
STRETCHED = 1.1
"""Lengths are read anew from the curve when traffic's own differ by this factor."""


@dataclass(slots=True)
class _Reply:
    """began: on the clock. since: the server's progress then. thinking, answer: tokens, once it has ended."""

    family: str | None
    budget: int | None
    began: float
    since: float
    thinking: int | None = None
    answer: int | None = None
    ended: bool = False


class Shedding:
    """Decides the budget ceilings of a server. Times are seconds on one monotonic clock.

    target: seconds in which 95 of 100 replies should be complete. floors: the least ceiling of each family.
    slots: replies that run at once. ranks: engines that share the load.
    on_shedding: called with a message when it begins and ends. on_change: called with the work that a reply
        may take, as a share of what it would take with nothing lowered, and with the least ceiling of
        requests without a family. looked: when that was last judged.
    """

    def __init__(
        self,
        profile: ThinkingProfile,
        target: float,
        *,
        floors: Mapping[str | None, int | None] | None = None,
        slots: int,
        ranks: int = 1,
    ) -> None:
        self.target = target
        self.on_change: Callable[[float, int | None], None] = lambda allowance, ceiling: None
        self.on_shedding: Callable[[str], None] = lambda message: None
        self._curves = {name: profile.curve(name) for name in (None, *profile.families)}
        self._floors = floors or {}
        self._slots, self._ranks = slots, ranks
        self._fit = StepFit()
        self._running: dict[Hashable, _Reply] = {}
        self._begun: deque[_Reply] = deque()
        self._arrivals = Arrivals(RATE_WINDOW * target, target)
        self._progress = 0.0
        self._waiting: dict[int, int] = {}
        self._stretch = self._read_stretch = 1.0
        self._answer = 0.0
        self._learned = 0
        self._lengths = {name: Lengths(curve) for name, curve in self._curves.items()}
        self._rules: dict[str | None, Rule] = {name: Rule(None) for name in self._curves}
        self._due: dict[str | None, float] = dict.fromkeys(self._curves, 0.0)
        self._allowed: float | None = None
        self._setpoint = SETPOINT
        self._since = 0.0
        self.looked = float("-inf")

    @property
    def running(self) -> int:
        """Replies that have begun and not ended."""
        return len(self._running)

    # -- what the server tells -------------------------------------------------------------------------------

    def ceiling(self, now: float, family: str | None = None) -> int | None:
        """The most thinking tokens that a request of a family may have now; None is no limit."""
        self._look(now)
        rule = self._rules[family]
        self._due[family] += rule.lowered
        if self._due[family] < 1:
            return rule.ceiling
        self._due[family] -= 1
        return rule.lower

    def come(self, now: float, request: Hashable) -> None:
        """A request has come: it begins replies when it has been read and rendered, and waits for that.

        Under more load than one process can read, most of what is owed waits there.
        """
        self._arrivals.come(now, request)

    def read(self, request: Hashable) -> None:
        """A request that has come begins its replies now, or none at all."""
        self._arrivals.coming.discard(request)

    def enter(
        self, now: float, key: Hashable, family: str | None, requested: int | None, granted: int | None
    ) -> None:
        """A reply begins: what was asked for it, and the budget it got."""
        self._arrivals.begin(now, family, requested)
        reply = self._running[key] = _Reply(family, granted, now, self._progress)
        self._begun.append(reply)

    def leave(
        self, now: float, key: Hashable, thinking: int | None = None, answer: int | None = None
    ) -> None:
        """A reply has ended; with how many tokens, unless it was broken off."""
        reply = self._running.pop(key)
        if self._allowed is not None and thinking is not None and reply.began >= self._since:
            # Stochastic approximation of a quantile (Robbins and Monro 1951): at rest if 5 % are late.
            late = now - reply.began > LATE * self.target
            weight = SETPOINT_WEIGHT / max(1, len(self._arrivals) / RATE_WINDOW)
            moved = self._setpoint * math.exp(weight * (LONG - late))
            self._setpoint = min(max(moved, SETPOINTS[0]), SETPOINTS[1])
        reply.thinking, reply.answer, reply.ended = thinking, answer, True
        # In the order in which they began: those that end first are the short ones.
        while self._begun and self._begun[0].ended:
            self._learn(self._begun.popleft())

    def _learn(self, reply: _Reply) -> None:
        """Correct what is known of lengths by a reply that has ended."""
        if reply.thinking is None or reply.answer is None:
            return
        self._learned += 1
        self._answer += max(LEARNING, 1 / self._learned) * (reply.answer - self._answer)
        lengths = self._lengths[reply.family]
        if (natural := lengths.thinking(None)) > 0:
            error = (reply.thinking - lengths.thinking(reply.budget)) / natural
            self._stretch *= 1 + LEARNING * min(error, 10.0)

    def step(
        self,
        now: float,
        *,
        tokens: int,
        outputs: int,
        started: int,
        unfinished: int,
        waiting: int,
        rank: int = 0,
    ) -> None:
        """A step of an engine has ended.

        tokens: generated in it, for `outputs` requests, of which `started` had their first. unfinished: those
        that are left there, `waiting` of which do not run yet.
        """
        self._fit.step(now, rank, tokens, started, unfinished)
        if outputs:
            self._progress += tokens / outputs / self._ranks
        self._waiting[rank] = waiting
        self._look(now)

    # -- what follows ----------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """Judge the state anew, unless that has just been done."""
        elapsed = now - self.looked
        if elapsed < self.target / LOOKS:
            return
        self.looked = now
        self._arrivals.forget(now)
        times = self._fit.times()
        if times is None or not self._learned:
            return
        self._read_lengths()
        per_token = times.per_token + times.overhead / self._slots
        times = StepTimes(times.overhead, per_token, times.per_start)
        # A target that an idle server can hardly keep is not met by cutting whoever comes.
        steps = min(times.overhead * self._lengths[None].long(), self.target / 2)
        free = self.target - steps
        owed = self._owed(times)
        if self._allowed is None and owed <= ENTRY * free:
            return
        if not len(self._arrivals):  # nobody has come for long
            self._release()
            return
        families = self._families(times)
        full = sum(family.share * family.options[-1].work for family in families.values())
        rate = self._arrivals.rate(now) / self._ranks
        if self._allowed is None and rate * full < BUSY and owed <= ENTRY_AT_ALL * free:
            return
        may_come = max(0.0, 1 + (self._setpoint * free - owed) / self.target)
        law = may_come / rate
        allowed = law
        if self._allowed is not None and law > self._allowed:
            allowed = self._allowed + (law - self._allowed) * min(1.0, elapsed / (RELEASE * self.target))
        if allowed >= full:
            self._release()
            return
        if self._allowed is None:
            self._since = now
            self.on_shedding(
                f"load: lowering budgets; {owed:.2f} s of work are owed, {rate:.1f} requests/s bring "
                f"{1000 * full:.1f} ms each; a step takes {1000 * times.overhead:.2f} ms, a token "
                f"{1000 * times.per_token:.3f} ms, a start {1000 * times.per_start:.2f} ms"
            )
        self._allowed = allowed
        self._rules = allocate(families, allowed)
        self.on_change(allowed / full, self._rules[None].least)

    def _release(self) -> None:
        """Lower nothing."""
        if self._allowed is not None:
            self._allowed = None
            self._rules = {name: Rule(None) for name in self._curves}
            self.on_change(1.0, None)
            self.on_shedding("load: lowering no budget any more")

    def _owed(self, times: StepTimes) -> float:
        """Seconds of shared work that replies which have begun or will begin still need, on each engine."""
        tokens = starts = 0.0
        waiting = sum(self._waiting.values())
        fresh = len(self._running) - waiting
        for number, reply in enumerate(self._running.values()):
            lengths = self._lengths[reply.family]
            done = self._progress - reply.since if number < fresh else 0.0
            tokens += lengths.left(reply.budget, done)
            starts += lengths.cut(reply.budget)
        starts += waiting
        owed = times.per_token * tokens + times.per_start * starts
        if coming := len(self._arrivals.coming):
            lengths = self._lengths[None]
            full = times.per_token * (lengths.thinking(None) + lengths.answer) + times.per_start
            owed += coming * (full if self._allowed is None else min(full, self._allowed))
        return owed / self._ranks

    def _read_lengths(self) -> None:
        """Read the curves anew if the lengths of traffic have changed."""
        ratio = self._stretch / self._read_stretch
        answer = round(self._answer)
        if answer != self._lengths[None].answer or not 1 / STRETCHED < ratio < STRETCHED:
            self._read_stretch = self._stretch
            self._lengths = {
                name: Lengths(curve, self._stretch, answer) for name, curve in self._curves.items()
            }

    def _families(self, times: StepTimes) -> dict[str | None, Share]:
        """What recent requests asked, by family, and what ceilings would make of it."""
        asked = self._arrivals.asked(self._curves)
        total = max(1, len(self._arrivals))
        return {
            name: Share(count.total() / total, self._options(name, count or Counter({None: 1}), times))
            for name, count in asked.items()
        }

    def _options(self, family: str | None, asked: Counter[int | None], times: StepTimes) -> list[Option]:
        lengths, total = self._lengths[family], asked.total()
        floor = self._floors.get(family, 0)
        numbers = [c for c in lengths.ceilings() if c is not None]
        ceilings = [] if floor is None else sorted({max(c, floor) for c in numbers})
        options = []
        for ceiling in (*ceilings, None):
            work = accuracy = 0.0
            for requested, times_asked in asked.items():
                budget = smaller(requested, ceiling)
                tokens = lengths.thinking(budget) + lengths.answer
                starts = 1 + lengths.cut(budget)
                work += times_asked * (times.per_token * tokens + times.per_start * starts)
                accuracy += times_asked * lengths.accuracy(budget)
            options.append(Option(ceiling, work / total, accuracy / total))
        return options


def smaller(one: int | None, other: int | None) -> int | None:
    """The smaller of two budgets, None being no limit."""
    return other if one is None else one if other is None else min(one, other)
