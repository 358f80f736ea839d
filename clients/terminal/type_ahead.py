"""What the user types while a reply streams: `/now` is heard at once, the rest waits for the prompt."""

from __future__ import annotations

import codecs
import os
import re
import select
import termios
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

TICK_SECONDS = 0.1
_ERASE = ("\x7f", "\b")
_KILL = "\x15"
_END = "\x04"
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O.|.)?", re.DOTALL)
"""What arrow and function keys send: nothing to keep."""


class TypeAhead:
    """Reads a terminal, in a thread, while a reply is shown on it. A context manager.

    now: is called when the line `/now` is typed; False if there is nothing to end. changed: is called with
    the line that is being typed, now and then even if it is the same, so that a display can keep time.
    echo: leave it to the terminal to show what is typed.
    lines: whole lines for the prompts to come; line: what is typed of the next one; left: Ctrl-D was typed.
    """

    def __init__(
        self, fd: int, now: Callable[[], bool], changed: Callable[[str], None], *, echo: bool
    ) -> None:
        self._fd = fd
        self._now = now
        self._changed = changed
        self._echo = echo
        self._end, self._ended = os.pipe()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.lines: list[str] = []
        self.line = ""
        self.left = False

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._fd)
        mode = termios.tcgetattr(self._fd)
        # Keys come one by one; Ctrl-C stays a signal, but leaves what was typed before it.
        mode[3] |= termios.NOFLSH
        mode[3] &= ~(termios.ICANON | (0 if self._echo else termios.ECHO))
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._fd, termios.TCSADRAIN, mode)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._ended)
        try:
            self._thread.join()
        finally:
            os.close(self._end)
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while True:
            ready = select.select([self._fd, self._end], [], [], TICK_SECONDS)[0]
            if self._end in ready:
                return
            if ready:
                data = os.read(self._fd, 4096)
                if not data:  # the terminal is gone
                    return
                for key in _SEQUENCE.sub("", decoder.decode(data)):
                    self._type(key)
            self._changed(self.line)

    def _type(self, key: str) -> None:
        if key == "\n":
            line, self.line = self.line, ""
            if not (line.strip() == "/now" and self._now()):
                self.lines.append(line)
        elif key in _ERASE:
            self.line = self.line[:-1]
        elif key == _KILL:
            self.line = ""
        elif key == _END:
            self.left = self.left or not self.line
        elif key.isprintable():
            self.line += key
