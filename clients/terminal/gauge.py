"""The gauge of a reply that thinks, as one line of text: tokens used of the budget, and the time."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

from clients.terminal.dial import Dial
from clients.types import AnswerDelta, Event, Finished, Started, ThinkingDelta

CELLS = 20
FULL, EMPTY = "█", "░"


@dataclass(slots=True)
class Gauge:
    """Follows the events of one reply. hint: how the user may end the thinking, "" to say nothing.

    Tokens are the server's count where it sends one with every chunk, else one for each chunk, marked ~.
    """

    dial: Dial
    hint: str = ""
    tokens: int = 0
    exact: bool = False
    thinking: bool = False
    started: float = field(default_factory=monotonic)

    def watch(self, event: Event) -> None:
        """See the next event."""
        if isinstance(event, ThinkingDelta):
            self.thinking = True
            self.exact = event.tokens is not None
            self.tokens = self.tokens + 1 if event.tokens is None else event.tokens
        elif isinstance(event, AnswerDelta | Finished):
            self.thinking = False
        elif isinstance(event, Started):
            self.thinking = self.dial.thinking is not False

    def line(self) -> str:
        """The gauge now; "" once thinking is over."""
        if not self.thinking:
            return ""
        count = f"{'' if self.exact or not self.tokens else '~'}{self.tokens}"
        budget = self.dial.budget
        if budget is not None and budget > 0:
            full = min(CELLS, self.tokens * CELLS // budget)
            facts = [f"{FULL * full}{EMPTY * (CELLS - full)} {count} of {budget} thinking tokens"]
        else:
            facts = [f"{count} thinking tokens"]
            facts += [] if self.dial.effort is None else [f"effort {self.dial.effort}"]
        seconds = f"{monotonic() - self.started:.1f}"
        facts.append(f"{seconds}s" if self.dial.deadline is None else f"{seconds} of {self.dial.deadline:g}s")
        return " · ".join([*facts, self.hint] if self.hint else facts)
