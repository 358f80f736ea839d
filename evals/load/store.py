"""What a load test stores: `load.jsonl`, from which every number of its report is made.

Its lines, by `kind`:

- `settings`: what was asked; a run with others is refused.
- `capacity`: {arm, requests_per_second, concurrency, seconds}: replies a second of a saturated server.
- `target`: {seconds, from}: the time in which replies should be complete.
- `reply`: {arm, load, index, problem, gold, subject, level, due, sent, ended, answer, report, tokens, error}.
- `level`: {arm, load, rate, seconds, replies}: the end of a load, after its replies.

A load is stored as a whole when it has ended: half of one cannot be gone on with, as the other half would
begin with an idle server. So a killed run loses the load that ran, and repeats it.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.jsonl import decode_object

LOAD = "load.jsonl"
FORMAT = 1

Row = dict[str, Any]


class LoadStore:
    """A load test's directory. rows: all lines but unfinished ones and replies of unfinished loads."""

    def __init__(self, directory: Path, settings: Row) -> None:
        """Open or create it. Raises ValueError if it holds a run with other settings, or is damaged."""
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / LOAD
        wanted = {"kind": "settings", "format": FORMAT, **settings}
        self.rows = read_rows(directory) if self.path.is_file() else []
        if not self.rows:
            self.add([wanted])
        elif self.rows[0] != wanted:
            for name in wanted:
                if self.rows[0].get(name) != wanted[name]:
                    raise ValueError(
                        f"{name}: the run in {directory} has {self.rows[0].get(name)!r}, this one asks "
                        f"{wanted[name]!r}; ask the same, or write to another directory"
                    )

    def find(self, kind: str, **members: Any) -> Row | None:
        """The row of a kind with these members."""
        for row in self.rows:
            if row["kind"] == kind and all(row[name] == value for name, value in members.items()):
                return row
        return None

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows and sync them to disk; what an ended process left of a line is cut off first."""
        text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            data = Path(self.path).read_bytes()
            kept = data.rfind(b"\n") + 1
            os.ftruncate(file, kept)
            os.lseek(file, kept, os.SEEK_SET)
            rest = memoryview(text.encode("ascii"))
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        finally:
            os.close(file)
        self.rows += rows


def read_rows(directory: Path) -> list[Row]:
    """The rows of a load test. Raises ValueError where there is none, or a line that is none of its rows."""
    path = directory / LOAD
    if not path.is_file():
        raise ValueError(
            f"{directory} holds no load test ({LOAD} is missing); thinkdial eval load writes one"
        )
    rows: list[Row] = []
    pending: list[Row] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            row = decode_object(line, "line")
            kind = row["kind"]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}:{number}: not a row of a load test ({error})") from error
        if kind == "reply":
            pending.append(row)
            continue
        if kind == "level":
            if not isinstance(row.get("replies"), int):
                raise ValueError(f"{path}:{number}: not a row of a load test (replies is no number)")
            rows += pending[-row["replies"] :] if row["replies"] else []
        pending = []
        rows.append(row)
    return rows
