"""Every text of a training file, one after another, whatever its format calls the fields."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.jsonl import decode
from evals.problems import load

_PIECE_CHARACTERS = 1 << 20
_WINDOW_CHARACTERS = 1 << 15


@dataclass(frozen=True, slots=True)
class Text:
    """A text, where it stands (`file:line field`), and its row or line, counted from 1."""

    content: str
    where: str
    row: int


def read_texts(source: str) -> Iterator[Text]:
    """The texts of a training file, read as a stream.

    JSONL and Parquet give every string in a row, at any depth: `text`, `prompt`, `messages[0].content` and
    whatever else there is. Any other file is plain UTF-8 text, given in overlapping windows, so that what is
    shorter than half a window stands whole in one. A source that is no file is a problem set (`load`).

    Raises:
        ValueError: the file is missing, a JSON array, not UTF-8, or a line of it is not JSON.
    """
    path = Path(source)
    if not path.is_file():
        if path.exists() or len(path.parts) > 1 or path.suffix:
            raise ValueError(f"train: {source!r} is not a file; give files or names of problem sets")
        yield from _problem_texts(source)
        return
    if path.suffix == ".json":
        raise ValueError(
            f"train: {source} is read by line and a .json array has none; give JSONL: "
            f"jq -c '.[]' {path.name} > {path.stem}.jsonl"
        )
    try:
        if path.suffix == ".jsonl":
            yield from _jsonl_texts(path)
        elif path.suffix == ".parquet":
            yield from _parquet_texts(path)
        else:
            yield from _plain_texts(path)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"train: {source} is not UTF-8 text ({error}); give JSONL, Parquet or text"
        ) from error


def _problem_texts(name: str) -> Iterator[Text]:
    for row, problem in enumerate(load(name), start=1):
        yield Text(problem.problem, problem.id, row)


def _jsonl_texts(path: Path) -> Iterator[Text]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = decode(line, f"train: {path}:{number}")
            for field, content in _strings(row, ""):
                yield Text(content, f"{path}:{number} {field}".rstrip(), number)


def _parquet_texts(path: Path) -> Iterator[Text]:
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]

    number = 0
    for batch in parquet.ParquetFile(path).iter_batches(batch_size=256):
        for row in batch.to_pylist():
            number += 1
            for field, content in _strings(row, ""):
                yield Text(content, f"{path}:{number} {field}".rstrip(), number)


def _strings(value: Any, field: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from _strings(member, f"{field}.{key}" if field else str(key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _strings(member, f"{field}[{index}]")


def _plain_texts(path: Path) -> Iterator[Text]:
    """Windows that end where a line does, each beginning with the last half window of the one before."""
    pieces: list[str] = []
    size, first, number, fresh = 0, 1, 1, False
    with path.open(encoding="utf-8") as file:
        # Lines are read in bounded pieces: a text file may be one line.
        while piece := file.readline(_PIECE_CHARACTERS):
            pieces.append(piece)
            size += len(piece)
            row, fresh = number, True
            number += piece.endswith("\n")
            if size >= _WINDOW_CHARACTERS:
                window = "".join(pieces)
                yield Text(window, f"{path}:{first}", row)
                kept = window[-_WINDOW_CHARACTERS // 2 :]
                pieces, size, first, fresh = [kept], len(kept), number - kept.count("\n"), False
    if fresh:
        yield Text("".join(pieces), f"{path}:{first}", row)
