"""The store of a run: an append-only file of records that survives a kill at any moment.

A run directory holds `manifest.json` (what was asked), `samples.jsonl` (one record a line) and `lock`
(held while a sweep writes). Each line is written with one append and synced before the next request is
counted as done, so a kill costs at most the line being written; that torn line is cut off on resume.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from evals.account import Tally
from evals.budgets import sort_budgets
from evals.files import naming
from evals.jsonl import decode_object
from evals.locks import HeldError, acquire
from evals.records import Failure, Record

MANIFEST = "manifest.json"
SAMPLES = "samples.jsonl"
LOCK = "lock"
FORMAT = 2
_PLAN = (("budgets", list), ("samples", int), ("problems", dict))


class StoreBusyError(RuntimeError):
    """Another process is writing this store."""


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a run directory; ValueError when there is none or its format is not this one."""
    path = directory / MANIFEST
    if not path.is_file():
        raise ValueError(
            f"{directory} holds no run ({MANIFEST} is missing); give a directory that a sweep wrote"
        )
    manifest = decode_object(path.read_bytes(), str(path))
    if manifest.get("format") != FORMAT:
        raise ValueError(f"{path}: format is {manifest.get('format')!r}; this version reads {FORMAT}")
    plan = manifest.get("plan")
    for name, value, kind in (
        ("settings", manifest.get("settings"), dict),
        ("versions", manifest.get("versions"), dict),
        ("plan", plan, dict),
        *((f"plan.{it}", (plan or {}).get(it), kind) for it, kind in _PLAN),
    ):
        if not isinstance(value, kind):
            raise ValueError(f"{path}: {name} is {value!r:.80}; a run has one ({kind.__name__})")
    return manifest


def iter_records(directory: Path) -> Iterator[Record]:
    """Every record in the order they were written, one in memory at a time; raises as `stream_records`."""
    return (row for _, row in stream_records(directory) if isinstance(row, Record))


def read_records(directory: Path) -> tuple[dict[str, Record], dict[str, Failure]]:
    """Records by key, and the failures without a later record, all in memory; raises as `stream_records`."""
    records: dict[str, Record] = {}
    failures: dict[str, Failure] = {}
    for _, row in stream_records(directory):
        if isinstance(row, Record):
            records[row.key] = row
        else:
            failures[row.key] = row
    return records, {key: failure for key, failure in failures.items() if key not in records}


def stream_records(directory: Path) -> Iterator[tuple[int, Record | Failure]]:
    """Every record and failed request in the order they were written, with the byte its line starts at.

    One is in memory at a time. An unfinished last line is passed over. Raises ValueError naming file and line
    for a line that is no record, or a key stored twice.
    """
    path = directory / SAMPLES
    if not path.is_file():
        return
    keys: set[str] = set()
    offset = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                row = _parse(line)
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"{path}:{number}: not a record ({error})") from error
            if isinstance(row, Record):
                if row.key in keys:
                    raise ValueError(f"{path}:{number}: key {row.key} is stored twice")
                keys.add(row.key)
            yield offset, row
            offset += len(line)


def read_record_at(directory: Path, offset: int) -> Record:
    """The record whose line starts at a byte that `stream_records` told."""
    with (directory / SAMPLES).open("rb") as file:
        file.seek(offset)
        record = _parse(file.readline())
    assert isinstance(record, Record)
    return record


def _parse(line: bytes) -> Record | Failure:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        # A lone surrogate, which a reply may hold and orjson refuses; or no JSON, as this will say.
        row = decode_object(line, "line")
    return Failure.from_json(row) if row["kind"] == "failure" else Record.from_json(row)


class Entry(NamedTuple):
    """Where a record is in the file, and the thinking tokens of a trace: what a resumed sweep plans with."""

    offset: int
    thinking_tokens: int | None


class Store:
    """A run directory opened for writing, by one process at a time; see `Store.open`.

    In memory it has an entry for each record; `read` fetches a whole one from the file. tally: of all
    records.
    """

    def __init__(self, directory: Path, file: int, entries: dict[str, Entry], tally: Tally) -> None:
        self.directory = directory
        self.tally = tally
        self._entries = entries
        self._file = file
        self._size = os.fstat(file).st_size

    @classmethod
    @contextmanager
    def open(
        cls, directory: Path, settings: dict[str, Any], plan: dict[str, Any], versions: dict[str, str]
    ) -> Iterator[Self]:
        """Create a run directory, or resume the run in it.

        settings: what every reply depends on. A run that holds other settings is refused with a ValueError
            naming the first that differs.
        plan: {"budgets": [...], "samples": int, "problems": {id: content hash}}, and where they are asked for
            {"crosscheck": share, "confidence": bool}; a resumed run may add to it.
        versions: of the software, noted when the run is created.
        Raises StoreBusyError while another process writes the store.
        """
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory):
            _write_manifest(directory, settings, plan, versions)
            entries: dict[str, Entry] = {}
            tally = Tally()
            for offset, row in stream_records(directory):
                if isinstance(row, Record):
                    entries[row.key] = _entry(row, offset)
                    tally.add(row)
            file = os.open(directory / SAMPLES, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                _drop_torn_line(file)
                _sync_directory(directory)
                yield cls(directory, file, entries, tally)
            finally:
                os.close(file)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def read(self, key: str) -> Record:
        """A stored record. KeyError if there is none."""
        offset = self._entries[key].offset
        parts: list[bytes] = []
        while not (parts and b"\n" in parts[-1]):
            part = os.pread(self._file, 65536, offset)
            parts.append(part)
            offset += len(part)
        row = _parse(b"".join(parts).partition(b"\n")[0])
        assert isinstance(row, Record)
        return row

    def add(self, record: Record) -> None:
        """Append a record and sync it to disk. ValueError if its key is already stored."""
        if record.key in self._entries:
            raise ValueError(f"key {record.key} is already stored")
        offset = self._append(record.to_json())
        self._entries[record.key] = _entry(record, offset)
        self.tally.add(record)

    def add_failure(self, failure: Failure) -> None:
        """Append a failed request; its key stays unknown, so that a resumed sweep asks again."""
        self._append(failure.to_json())

    def _append(self, row: dict[str, Any]) -> int:
        """Append a line; returns its offset."""
        # ASCII JSON: a lone surrogate in a reply is escaped instead of failing to encode.
        line = json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"
        data = memoryview(line)
        with naming(self.directory / SAMPLES):
            try:
                while data:
                    data = data[os.write(self._file, data) :]
                os.fdatasync(self._file)
            except OSError:
                # A full disk: replies in flight may yet be appended, and not to half a line.
                os.ftruncate(self._file, self._size)
                raise
        offset = self._size
        self._size += len(line)
        return offset


def _entry(record: Record, offset: int) -> Entry:
    return Entry(offset, record.thinking_tokens if record.kind == "trace" else None)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        file = acquire(directory / LOCK)
    except HeldError as error:
        raise StoreBusyError(
            f"{directory} is being written by another sweep (process {error}); "
            "wait for it, end it, or write to another directory"
        ) from error
    try:
        yield
    finally:
        os.close(file)


def _drop_torn_line(file: int) -> None:
    """Truncate the file after its last newline, reading backwards."""
    size = os.fstat(file).st_size
    end = size
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
        os.fsync(file)


def _write_manifest(
    directory: Path, settings: dict[str, Any], plan: dict[str, Any], versions: dict[str, str]
) -> None:
    if (directory / MANIFEST).exists():
        stored = read_manifest(directory)
        _check_same(directory, "", stored["settings"], settings)
        plan = _united(directory, stored["plan"], plan)
        versions = stored["versions"]
    elif (directory / SAMPLES).exists():
        raise ValueError(f"{directory} holds {SAMPLES} without {MANIFEST}; write to another directory")
    manifest = {"format": FORMAT, "settings": settings, "plan": plan, "versions": versions}
    temporary = directory / f"{MANIFEST}.tmp"
    with naming(temporary), temporary.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / MANIFEST)
    _sync_directory(directory)


def _check_same(directory: Path, name: str, stored: Any, asked: Any) -> None:
    if isinstance(stored, dict) and isinstance(asked, dict):
        for member in sorted(set(stored) | set(asked)):
            _check_same(
                directory, f"{name}.{member}" if name else member, stored.get(member), asked.get(member)
            )
    elif stored != asked:
        raise ValueError(
            f"{name}: the run in {directory} has {stored!r}, this one asks {asked!r}; a resumed run may add "
            "budgets, samples, more problems of its sets, a crosscheck and confidence only: ask the same, or "
            "write to another directory"
        )


def _united(directory: Path, stored: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    for problem, digest in asked["problems"].items():
        if stored["problems"].get(problem, digest) != digest:
            raise ValueError(
                f"problems: {problem!r} is another problem than that of {directory}; "
                "write to another directory"
            )
    return {
        "budgets": sort_budgets([*stored["budgets"], *asked["budgets"]]),
        "samples": max(stored["samples"], asked["samples"]),
        "problems": stored["problems"] | asked["problems"],
        "crosscheck": max(stored.get("crosscheck", 0.0), asked.get("crosscheck", 0.0)),
        "confidence": stored.get("confidence", False) or asked.get("confidence", False),
    }


def _sync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
