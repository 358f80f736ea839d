"""Progress of a sweep on stderr: one line redrawn on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from evals.sweep.endpoints import Endpoints
from evals.wording import clock


class Progress:
    """Counts units of work (a problem and sample), replies and generated tokens.

    A context manager; the last state is always shown. seconds: how often a line is written where stderr is
    not a terminal.
    """

    def __init__(
        self,
        total: int,
        done: int,
        endpoints: Endpoints,
        stream: TextIO | None = None,
        seconds: float = 10.0,
    ) -> None:
        self._total, self._done, self._resumed = total, done, done
        self._endpoints = endpoints
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._interval = 0.1 if self._terminal else seconds
        self._started = time.monotonic()
        self._shown = self._started
        self._replies = self._tokens = self._finished_tokens = 0
        self._points = self._cut = 0

    def __enter__(self) -> Self:
        if self._done:
            self._write(f"resuming: {self._done} of {self._total} already stored", end="\n")
        self._endpoints.on_left = lambda base_url: self.note(f"{base_url} is left: it failed again and again")
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

    def points(self, count: int, cut: int) -> None:
        """Count points with a limit on thinking, and how many of them it cut."""
        self._points += count
        self._cut += cut

    def unit(self, tokens: int) -> None:
        """Count one problem and sample as complete, and the tokens that were generated for it."""
        self._done += 1
        self._finished_tokens += tokens
        self._show()

    def note(self, message: str) -> None:
        """Write a line of its own."""
        self._write(message, end="\n")

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._shown >= self._interval:
            self._shown = now
            self._write(self._line(), end="" if self._terminal else "\n")

    def _line(self) -> str:
        elapsed = max(time.monotonic() - self._started, 1e-9)
        share = 100 * self._done / self._total if self._total else 100
        parts = [
            f"{self._done}/{self._total} ({share:.0f} %)",
            f"{self._replies} replies",
            f"{self._tokens / elapsed:.0f} generated tokens/s",
            f"{self._endpoints.in_flight} in flight",
        ]
        if self._endpoints.retried:
            parts.append(f"{self._endpoints.retried} retries")
        if self._points:
            parts.append(f"{100 * self._cut / self._points:.0f} % cut")
        parts.append(f"{clock(elapsed)} elapsed, {self._left(elapsed)} left")
        return "  ".join(parts)

    def _left(self, elapsed: float) -> str:
        """Time left, by the tokens that finished units took and what is done of those under way."""
        fresh = self._done - self._resumed
        if self._done == self._total:
            return clock(0)
        if not fresh or not self._tokens:
            return "--:--"
        to_come = (self._total - self._done) * self._finished_tokens / fresh
        under_way = self._tokens - self._finished_tokens
        return clock(max(0.0, to_come - under_way) * elapsed / self._tokens)

    def _write(self, line: str, end: str) -> None:
        self._stream.write(f"\r\x1b[K{line}{end}" if self._terminal else f"{line}{end}")
        self._stream.flush()
