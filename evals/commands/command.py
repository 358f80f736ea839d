"""What the commands share: how they fail and are interrupted, and the exit statuses they return."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130


def fail(message: str, status: int) -> int:
    """Print an error as every command does; returns `status`."""
    print(f"thinkdial eval: {message}", file=sys.stderr)
    return status


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that servers, engines and trackers begun here are closed."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
