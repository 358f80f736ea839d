"""Append-only JSONL files that a kill at any moment leaves readable, and that a resumed run continues."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.files import naming


class Records:
    """A JSONL file of records with a `step`, written a whole line at a time."""

    def __init__(self, path: Path, resume_step: int) -> None:
        """Open `path` to append, without the records of steps after `resume_step` and without half lines."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            partial = path.with_suffix(".partial")
            with naming(partial):
                partial.write_bytes(b"".join(map(_line, read_records(path, resume_step))))
            partial.replace(path)
        self._file = path.open("ab")

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record; it is the system's, and survives this process, when this returns."""
        with naming(self.path):
            self._file.write(_line(record))
            self._file.flush()

    def close(self) -> None:
        """Wait until the disk holds every record."""
        with naming(self.path):
            os.fsync(self._file.fileno())
            self._file.close()


def read_records(path: Path, last_step: int | None = None) -> list[dict[str, Any]]:
    """The records up to `last_step` (None is all), in the order written; [] without the file.

    The last line is left out when a kill cut it short.
    """
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    records = [json.loads(line) for line in lines]
    return [record for record in records if last_step is None or record["step"] <= last_step]


def _line(record: Mapping[str, Any]) -> bytes:
    """JSON has no NaN or infinity: they are null."""
    plain = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }
    return json.dumps(plain, ensure_ascii=False, allow_nan=False).encode() + b"\n"
