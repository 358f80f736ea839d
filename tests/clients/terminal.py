"""Run a command in a pseudo-terminal and read its screen as text."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

COLUMNS = 100


class Terminal:
    """A child process on its own pseudo-terminal of 100 columns; `output` is all it wrote so far."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._fd, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        # The pty answers no cursor position requests, which prompt_toolkit would otherwise wait for.
        self.process = subprocess.Popen(
            command,
            stdin=child,
            stdout=child,
            stderr=child,
            env=dict(env) | {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": env.get("TERM", "xterm")},
            start_new_session=True,
            # Without a controlling terminal Ctrl-C would not become a signal.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(child)
        self.output = b""
        self._read_to = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._fd)

    def type(self, text: str) -> None:
        """Type text; "\\r" is Enter, "\\x03" Ctrl-C, "\\x04" Ctrl-D."""
        os.write(self._fd, text.encode())

    def expect(self, text: str, timeout: float = 20) -> str:
        """Wait until text appears after what earlier calls matched; returns the new output up to its end."""
        deadline = time.monotonic() + timeout
        while (at := self.output.find(text.encode(), self._read_to)) < 0:
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(
                    f"{text!r} did not appear; the terminal shows {self.output[self._read_to :][-2000:]!r}"
                )
        start, self._read_to = self._read_to, at + len(text.encode())
        return self.output[start : self._read_to].decode()

    def wait(self, timeout: float = 30) -> int:
        """Read until the process ends; returns its exit status."""
        deadline = time.monotonic() + timeout
        while self._read(max(0.0, deadline - time.monotonic())):
            pass
        return self.process.wait(timeout=5)

    def _read(self, timeout: float) -> bool:
        if not select.select([self._fd], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            # Linux reports the end of a pty as an error.
            return False
        self.output += data
        return bool(data)


_KEYS = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|.", re.DOTALL)


def screen_after(output: str) -> list[str]:
    """The lines that a terminal shows after `output`: wrapping, and what a reply's display moves by."""
    lines, row, column = [[" "] * COLUMNS], 0, 0
    for found in _KEYS.finditer(output):
        count, command = found[1], found[2]
        if command == "A":
            row -= int(count or 1)
        elif command == "C":
            column = min(COLUMNS - 1, column + int(count or 1))
        elif command == "J":
            lines[row][column:] = [" "] * (COLUMNS - column)
            del lines[row + 1 :]
        elif command is not None:
            assert command == "m", f"unknown sequence {found[0]!r}"
        elif found[0] == "\r":
            column = 0
        elif found[0] == "\n":
            row += 1
        else:
            if column == COLUMNS:
                row, column = row + 1, 0
            while row >= len(lines):
                lines.append([" "] * COLUMNS)
            lines[row][column] = found[0]
            column += 1
        while row >= len(lines):
            lines.append([" "] * COLUMNS)
    return ["".join(line).rstrip() for line in lines]
