"""How a chat reply looks: thinking dim, the cut marked, the answer plain, one status line."""

from __future__ import annotations

from enum import Enum
from typing import TextIO

from clients.types import Reply

# Everything a reply may do to a terminal is print: control characters except tab and newline are dropped.
_CONTROL = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
CUT_MARK = "✂ cut: "


class Part(Enum):
    """A kind of text on the screen; the value is its terminal style (SGR parameters)."""

    THINKING = "2"
    CUT = "33"
    ANSWER = ""
    STATUS = "36"


class CutMarker:
    """Splits streamed thinking into the model's own text and the early-stop text that ends it at a cut.

    stop_text: the part of the early-stop text before the close tag; "" if unknown. Text that might turn out
    to be it is held back until that is certain: it is a cut only if it is whole and thinking ends with it.
    """

    def __init__(self, stop_text: str) -> None:
        self._stop_text = stop_text.strip()
        self._held = ""

    def feed(self, text: str) -> str:
        """The model's own text that is certain by now."""
        self._held += text
        if not self._stop_text:
            return self._release(len(self._held))
        start = next((i for i in range(len(self._held)) if self._may_be_cut(self._held[i:])), len(self._held))
        return self._release(start)

    def end(self) -> tuple[str, str]:
        """At the end of thinking: the rest of the model's own text, and the early-stop text ("" if none)."""
        held = self._release(len(self._held))
        if self._stop_text and held.strip() == self._stop_text:
            return "", held
        return held, ""

    def _may_be_cut(self, tail: str) -> bool:
        return self._stop_text.startswith(tail) or (
            tail.startswith(self._stop_text) and not tail[len(self._stop_text) :].strip()
        )

    def _release(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        return text


class Screen:
    """Writes the parts of one reply after another; a new kind of part starts on a new line.

    answers: where the answer goes; notes: where thinking, the cut and the status line go (often the same).
    Styles are used only if asked; without them words tell thinking and answer apart.
    """

    def __init__(self, answers: TextIO, notes: TextIO, *, styled: bool) -> None:
        self._answers = answers
        self._notes = notes
        self._styled = styled
        self._part: Part | None = None
        self._at_line_start = True

    def write(self, part: Part, text: str) -> None:
        """Print a piece of text now. Blank lines around each part are dropped, those inside it are kept."""
        stream = self._answers if part is Part.ANSWER else self._notes
        if stream.isatty():
            text = text.translate(_CONTROL)
        if part is not self._part:
            text = text.lstrip("\n")
            if not text:
                return
            self.end_line()
            self._part = part
            text = self._label(part) + text
        style = part.value if self._styled else ""
        stream.write(f"\x1b[{style}m{text}\x1b[0m" if style and text else text)
        stream.flush()
        if text:
            self._at_line_start = text.endswith("\n")

    def end_line(self) -> None:
        """Go to a new line if something was printed on the current one; the next part starts afresh."""
        if self._part is not None and not self._at_line_start:
            stream = self._answers if self._part is Part.ANSWER else self._notes
            stream.write("\n")
            stream.flush()
        self._part = None
        self._at_line_start = True

    def _label(self, part: Part) -> str:
        if part is Part.CUT:
            return CUT_MARK
        if self._styled or part is Part.STATUS or (part is Part.ANSWER and self._answers is not self._notes):
            return ""
        return f"{part.name.lower()}: "


def status_line(reply: Reply, seconds: float) -> str:
    """Stop cause, thinking tokens of the budget, inserted tokens and seconds of choice 0, in words."""
    report = reply.report
    if report is None:
        used = f"{reply.usage.completion_tokens} tokens" if reply.usage else "no token counts"
        facts = ["no thinking report from this server", used]
    elif report.stop_cause == "disabled":
        facts = ["thinking off"]
    else:
        limit = "no limit" if report.budget is None else f"budget {report.budget}"
        facts = [f"thinking stopped: {report.stop_cause}", f"{report.tokens} thinking tokens ({limit})"]
        facts.append(f"{report.inserted_tokens} inserted")
    if reply.finish_reason == "length":
        facts.append("reply stopped at its token limit")
    return " · ".join([*facts, f"{seconds:.1f} s"])
