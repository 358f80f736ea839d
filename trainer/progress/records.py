"""Append-only JSONL files that a kill at any moment leaves readable, and that a resumed run continues."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Records:
    """A JSONL file of records with a `step`, written a whole line at a time."""

    def __init__(self, path: Path, resume_step: int) -> None:
        """Open `path` to append, without the records of steps after `resume_step` and without half lines."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = read_records(path, resume_step)
        if path.exists():
            partial = path.with_suffix(".partial")
            partial.write_text("".join(_line(record) for record in kept), encoding="utf-8")
            partial.replace(path)
        self.kept = kept
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record; it is the system's, and survives this process, when this returns."""
        os.write(self._file, _line(record).encode())

    def close(self) -> None:
        """Wait until the disk holds every record."""
        os.fsync(self._file)
        os.close(self._file)


def read_records(path: Path, last_step: int | None = None) -> list[dict[str, Any]]:
    """The records up to `last_step` (None is all), in the order written; [] without the file.

    The last line is left out when a kill cut it short.
    """
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            record = json.loads(line)
            if last_step is None or record["step"] <= last_step:
                records.append(record)
    return records


def _line(record: Mapping[str, Any]) -> str:
    """JSON has no NaN or infinity: they are null."""
    plain = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }
    return json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n"
