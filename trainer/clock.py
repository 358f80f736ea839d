"""How long a stage has run, over all of its attempts, in a file that a kill leaves readable."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

SECONDS = "seconds"
"""The file in the stage's folder."""
NOTED_EVERY = 5.0
"""Seconds between notes: what a kill may lose."""


@contextmanager
def clocked(folder: Path) -> Iterator[None]:
    """Add the wall time of the block to what the folder has noted."""
    before, started = read_seconds(folder), monotonic()
    ended = threading.Event()

    def note() -> None:
        partial = folder / f"{SECONDS}.partial"
        partial.write_text(f"{before + monotonic() - started:.3f}\n", "ascii")
        partial.replace(folder / SECONDS)

    def keep_noting() -> None:
        while not ended.wait(NOTED_EVERY):
            note()

    thread = threading.Thread(target=keep_noting, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        note()


def read_seconds(folder: Path) -> float:
    """The wall time noted in a stage's folder; 0 before it has begun."""
    path = folder / SECONDS
    return float(path.read_text("ascii")) if path.is_file() else 0.0
