"""Files that one process at a time may hold, so that two do not write the same directory."""

import fcntl
import os
from pathlib import Path


class HeldError(RuntimeError):
    """Another process holds the file; the message is its id, as far as it is known."""


def acquire(path: Path) -> int:
    """Hold the file until its descriptor, which is returned, is closed, or the process ends in any way.

    Raises HeldError when another process holds it.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(file, 32).decode().strip() or "unknown"
        os.close(file)
        raise HeldError(owner) from error
    os.ftruncate(file, 0)
    os.write(file, f"{os.getpid()}\n".encode())
    return file
