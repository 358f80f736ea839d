"""Progress of a sweep on stderr: one line redrawn on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO


class Progress:
    """Counts units of work and generated tokens. A context manager; the last state is always shown.

    seconds: how often a line is written where stderr is not a terminal.
    """

    def __init__(self, total: int, done: int, stream: TextIO = sys.stderr, seconds: float = 10.0) -> None:
        self._total, self._done, self._resumed = total, done, done
        self._stream, self._terminal = stream, stream.isatty()
        self._interval = 0.1 if self._terminal else seconds
        self._started = time.monotonic()
        self._shown = self._started
        self._replies = self._tokens = 0

    def __enter__(self) -> Self:
        if self._done:
            self._write(f"resuming: {self._done} of {self._total} already stored", end="\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(self._line(), end="\n")

    def reply(self, tokens: int) -> None:
        """Count one stored reply and the tokens generated for it."""
        self._replies += 1
        self._tokens += tokens
        self._show()

    def unit(self) -> None:
        """Count one problem and sample as complete."""
        self._done += 1
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._shown >= self._interval:
            self._shown = now
            self._write(self._line(), end="" if self._terminal else "\n")

    def _line(self) -> str:
        elapsed = max(time.monotonic() - self._started, 1e-9)
        fresh = self._done - self._resumed
        left = "--:--" if fresh == 0 else _clock((self._total - self._done) * elapsed / fresh)
        share = 100 * self._done / self._total if self._total else 100
        return (
            f"{self._done}/{self._total} ({share:.0f} %)  {self._replies} replies  "
            f"{self._tokens / elapsed:.0f} generated tokens/s  {_clock(elapsed)} elapsed, {left} left"
        )

    def _write(self, line: str, end: str) -> None:
        self._stream.write(f"\r\x1b[K{line}{end}" if self._terminal else f"{line}{end}")
        self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
