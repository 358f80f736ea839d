"""A small disk of its own: a file system in memory that can be filled, enlarged and made read-only."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

FILLER = "filler"


@dataclass(frozen=True)
class Disk:
    """folder: where it is mounted."""

    folder: Path

    def remount(self, options: str) -> None:
        """Change it: `size=1m`, `ro`, `rw`."""
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True)

    def fill(self) -> None:
        """Leave no byte on it."""
        fill(self.folder)

    def clear(self) -> None:
        """Take back what filled it."""
        (self.folder / FILLER).unlink()


def fill(folder: Path) -> None:
    """Write a file there until the disk is full."""
    with (folder / FILLER).open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert "No space left" in str(error)  # noqa: PT017


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Disk]:
    """Mount one at `folder`; only root may, so the test is left out for others."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
