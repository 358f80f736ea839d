"""JSON from files that anybody may have written, each value with the place it stands at."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def decode(text: str | bytes, where: str) -> Any:
    """The value of a JSON text. ValueError naming `where` for what is none, or is nested too deeply."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error})") from error


def decode_object(text: str | bytes, where: str) -> dict[str, Any]:
    """As `decode`, of an object."""
    value = decode(text, where)
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`file:line` and the object of every line that is not blank, as a stream.

    Raises:
        ValueError: a line is not a JSON object; it names file and line.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{path}:{number}"
                yield where, decode_object(line, where)
