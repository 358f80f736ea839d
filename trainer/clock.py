"""How long a stage has run, over all of its attempts, in a file that a kill leaves readable."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from evals.files import naming

SECONDS = "seconds"
"""The file in the stage's folder."""
NOTED_EVERY = 5.0
"""Seconds between notes: what a kill may lose."""


@contextmanager
def clocked(folder: Path) -> Iterator[None]:
    """Add the wall time of the block to what the folder has noted."""
    before, started = read_seconds(folder), monotonic()

    def note() -> None:
        partial = folder / f"{SECONDS}.partial"
        with naming(partial):
            partial.write_text(f"{before + monotonic() - started:.3f}\n", "ascii")
        partial.replace(folder / SECONDS)

    def note_meanwhile() -> None:
        # A full disk is told by the run's own writes, not by a thread that dies of it.
        with suppress(OSError):
            note()

    try:
        with repeated(note_meanwhile, NOTED_EVERY):
            yield
    finally:
        note()


@contextmanager
def repeated(action: Callable[[], None], every: float) -> Iterator[None]:
    """Do something beside the block, in a thread of its own: again and again, so many seconds apart."""
    ended = threading.Event()

    def keep_on() -> None:
        while not ended.wait(every):
            action()

    thread = threading.Thread(target=keep_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def read_seconds(folder: Path) -> float:
    """The wall time noted in a stage's folder; 0 before it has begun."""
    path = folder / SECONDS
    return float(path.read_text("ascii")) if path.is_file() else 0.0
