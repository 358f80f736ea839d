"""What the commands share: how they fail and are interrupted, and the exit statuses they return."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TypeVar

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
Result = TypeVar("Result")


def fail(message: str, status: int) -> int:
    """Print an error as every command does; returns `status`."""
    print(f"thinkdial eval: {message}", file=sys.stderr)
    return status


def on_server(options: argparse.Namespace, draw: Callable[[list[str], str | None], Result]) -> Result:
    """What `draw` returns, given addresses of servers and the model's name: those of `--base-url`, or of one
    that serves `--model` while it draws. Raises what a server that does not start raises.
    """
    if options.base_url is not None:
        return draw(options.base_url, options.model)
    from serve.launch import start_server

    print("starting the server ...", file=sys.stderr)
    with start_server(options.model) as server:
        return draw([server.base_url], server.model)


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
