"""One conversation of the terminal chat: asking, showing the reply, and what is kept of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from clients.client import Client
from clients.terminal.dial import Dial
from clients.terminal.display import CutMarker, Part, Screen, status_line
from clients.types import AnswerDelta, ChatOptions, Event, Finished, Reply, ThinkingDelta, ThinkingReport

COUNTED: ChatOptions = {"extra": {"stream_options": {"continuous_usage_stats": True}}}
"""Asks a server of ours to count thinking tokens in every chunk; others may refuse the field."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its reply."""

    question: str
    reply: Reply

    def as_dict(self) -> dict[str, Any]:
        return {"question": self.question, **reply_dict(self.reply)}


@dataclass(slots=True)
class Session:
    """One conversation: its dial, its turns, and where it prints.

    sampling: options of every request. stop_text: the early-stop text up to the close tag, "" if unknown.
    system: the system message, "" for none.
    """

    client: Client
    screen: Screen
    dial: Dial
    sampling: ChatOptions
    stop_text: str
    system: str = ""
    turns: list[Turn] = field(default_factory=list)

    @property
    def history(self) -> list[dict[str, str]]:
        """The messages so far: answers only, no thinking."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            messages.append({"role": "user", "content": turn.question})
            messages.append({"role": "assistant", "content": turn.reply.answer.strip()})
        return messages

    def ask(self, text: str, watch: Callable[[Event], None] | None = None) -> Reply:
        """Stream the reply to one message and keep both, unless there is an error.

        watch: is shown each event of the stream, before it is printed.
        """
        question = {"role": "user", "content": text}
        started = time.monotonic()
        marker = CutMarker(self.stop_text)
        reply: Reply | None = None
        for event in self.client.stream([*self.history, question], **(self.sampling | self.dial.options())):
            if watch is not None:
                watch(event)
            if isinstance(event, ThinkingDelta):
                self.screen.write(Part.THINKING, marker.feed(event.text))
            elif isinstance(event, AnswerDelta | Finished):
                rest, cut = marker.end()
                self.screen.write(Part.THINKING, rest)
                self.screen.write(Part.CUT, cut)
                if isinstance(event, Finished):
                    reply = event.reply
                else:
                    self.screen.write(Part.ANSWER, event.text)
        assert reply is not None, "a stream that ends without raising has yielded Finished"
        self.screen.write(Part.STATUS, status_line(reply, time.monotonic() - started))
        self.screen.end_line()
        self.turns.append(Turn(text, reply))
        return reply


def reply_dict(reply: Reply) -> dict[str, Any]:
    """A reply as JSON holds it; report and usage are null from servers without them."""
    return {
        "answer": reply.answer.strip(),
        "thinking": reply.thinking,
        "report": None if reply.report is None else report_dict(reply.report),
        "usage": None if reply.usage is None else asdict(reply.usage),
        "finish_reason": reply.finish_reason,
        "model": reply.model,
    }


def report_dict(report: ThinkingReport) -> dict[str, Any]:
    """A report with the members that the server sent."""
    members = asdict(report)
    extra = members.pop("extra")
    return {name: value for name, value in members.items() if value is not None or name == "budget"} | extra
