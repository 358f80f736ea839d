"""How a chat reply looks: thinking dim, the cut marked, the answer plain, one status line, a footer below."""

from __future__ import annotations

import os
import threading
from enum import Enum
from typing import TextIO

from clients.types import Reply

# Everything a reply may do to a terminal is print: control characters except tab and newline are dropped.
_CONTROL = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
CUT_MARK = "✂ cut: "
CLEAR_BELOW = "\x1b[J"
"""Erase from the cursor to the end of the screen."""
TAB = 8


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
    Styles are used only if asked; without them words tell thinking and answer apart. With them a footer may
    stand on the line below the text while it grows; it is never part of what was printed.
    """

    def __init__(self, answers: TextIO, notes: TextIO, *, styled: bool) -> None:
        self._answers = answers
        self._notes = notes
        self._styled = styled
        self._part: Part | None = None
        self._at_line_start = True
        self._column = 0
        self._footer = ""
        # The footer is also changed by the thread that hears what is typed.
        self._lock = threading.RLock()

    def write(self, part: Part, text: str) -> None:
        """Print a piece of text now. Blank lines around each part are dropped, those inside it are kept."""
        stream = self._answers if part is Part.ANSWER else self._notes
        if stream.isatty():
            text = text.translate(_CONTROL)
        with self._lock:
            if part is not self._part:
                text = text.lstrip("\n")
                if not text:
                    return
                self._new_line()
                self._part = part
                text = self._label(part) + text
            style = part.value if self._styled else ""
            self._put(stream, f"\x1b[{style}m{text}\x1b[0m" if style and text else text, text)
            if text:
                self._at_line_start = text.endswith("\n")

    def end_line(self) -> None:
        """Go to a new line if something was printed on the current one; the next part starts afresh."""
        with self._lock:
            self._footer = ""
            self._new_line()

    def footer(self, text: str) -> None:
        """Show a line below what is printed, in place of the one before; "" takes it away.

        Only on a terminal with styles; cut to the terminal's width.
        """
        with self._lock:
            if self._styled and text != self._footer:
                self._footer = text
                self._put(self._notes, "", "")

    def _new_line(self) -> None:
        if self._part is not None and not self._at_line_start:
            self._put(self._answers if self._part is Part.ANSWER else self._notes, "\n", "\n")
        elif self._styled:
            self._put(self._notes, "", "")
        self._part = None
        self._at_line_start = True

    def _put(self, stream: TextIO, output: str, text: str) -> None:
        """Write `output`, which shows `text`, at the cursor, and the footer below it."""
        if not (self._styled and stream.isatty()):
            stream.write(output)
            stream.flush()
            return
        width = os.get_terminal_size(self._notes.fileno()).columns
        self._column = column_after(text, self._column, width)
        if self._column == width:
            # Terminals differ in where the cursor is now; this takes it to the next line on all.
            output, self._column = output + " \r", 0
        stream.write(f"{CLEAR_BELOW}{output}")
        stream.flush()
        if self._footer:
            shown = _clipped(self._footer, width - 1)
            back = f"\x1b[{self._column}C" if self._column else ""
            self._notes.write(f"\n{shown}\r\x1b[A{back}")
            self._notes.flush()

    def _label(self, part: Part) -> str:
        if part is Part.CUT:
            return CUT_MARK
        if self._styled or part is Part.STATUS or (part is Part.ANSWER and self._answers is not self._notes):
            return ""
        return f"{part.name.lower()}: "


def column_after(text: str, column: int, width: int) -> int:
    """Where the cursor of a terminal of `width` columns is after `text`; `width` is past the last column."""
    from prompt_toolkit.utils import get_cwidth  # takes a while, and pipes need it not

    for character in text:
        if character == "\n":
            column = 0
        elif character == "\t":
            column = min(width - 1, (column // TAB + 1) * TAB)
        else:
            size = get_cwidth(character)
            column = size if column + size > width else column + size
    return column


def _clipped(text: str, width: int) -> str:
    """As much of a line as `width` columns hold."""
    from prompt_toolkit.utils import get_cwidth

    used = 0
    for position, character in enumerate(text):
        used += get_cwidth(character)
        if used > width:
            return text[:position]
    return text


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
