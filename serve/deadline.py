"""The clock of a choice with a deadline: thinking ends when the time left is what the answer needs."""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serve.choice import LimitedChoice

SHORTEST_WAIT = 0.002
"""Seconds between two looks at a deadline that is near."""

STEADY_TOKENS = 8
"""Tokens after which a reply's own speed is believed."""


class Deadline:
    """Interrupts the thinking of a choice in time. seconds: from its request's arrival."""

    def __init__(self, choice: "LimitedChoice", seconds: float) -> None:
        self._choice = choice
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._first_look: tuple[float, int] | None = None

    def look(self) -> None:
        """Interrupt thinking when the time that is left is what the answer needs, or look again later."""
        choice, pace, now = self._choice, self._choice.engine.pace, monotonic()
        estimate = pace.estimate(choice.tracker.asked.answer_reserve, self._step(now))
        slack = choice.tracker.arrival + self._seconds - pace.kept_back(self._seconds, estimate) - now
        if slack > 0:
            # Half of the time that seems left, as the speed of a server changes with its load.
            self._timer = asyncio.get_running_loop().call_later(max(slack / 2, SHORTEST_WAIT), self.look)
        elif choice.interrupt("deadline") and estimate is not None:
            choice.tracker.estimate = (now, estimate)

    def cancel(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _step(self, now: float) -> float | None:
        """Seconds per token of this reply, once it has gone on for a few."""
        tokens = self._choice.generated
        if tokens == 0:
            return None
        if self._first_look is None:
            self._first_look = (now, tokens)
        since, before = self._first_look
        return (now - since) / (tokens - before) if tokens - before >= STEADY_TOKENS else None
