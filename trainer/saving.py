"""Writing what a run goes on from: synced before it counts, and errors of the disk told as such."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

STORAGE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES})
"""Errors of a disk or of a folder's permissions, not of the program."""


class SaveError(OSError):
    """A folder could not be written; what stood in its place before is as it was."""


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Raise SaveError, naming the folder, for all errors by which libraries tell that it was not written."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise SaveError(f"{folder} could not be written ({str(error).splitlines()[0]})") from error


def is_of_storage(error: OSError) -> bool:
    return isinstance(error, SaveError) or error.errno in STORAGE


def sync(folder: Path) -> None:
    """Wait until the disk holds every file of a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
