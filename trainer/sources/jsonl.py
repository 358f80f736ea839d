"""Examples in a JSONL file, one object a line."""

from array import array
from pathlib import Path

from evals.jsonl import decode
from trainer.examples import Example
from trainer.sources.rows import RowReader


class Jsonl:
    """The examples of a file in its order. All lines are checked once; examples are read when asked for."""

    size: int | None

    def __init__(self, path: Path, reader: RowReader) -> None:
        """Raises ValueError: there is no such file, no line in it, or a line that is no example."""
        if not path.is_file():
            raise ValueError(f"path: there is no file {str(path)!r}; give the path of a JSONL file")
        self._path = path
        self._reader = reader
        self._lines: list[int] = []
        self._offsets = array("q")
        identities: dict[str, int] = {}
        offset = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    identity = self._parse(line, number).problem.id
                    if identity in identities:
                        raise ValueError(
                            f"{path}:{number}: id {identity!r} is already that of line {identities[identity]}"
                        )
                    identities[identity] = number
                    self._lines.append(number)
                    self._offsets.append(offset)
                offset += len(line)
        if not self._lines:
            raise ValueError(f"path: {path} has no line; give one JSON object a line")
        self.size = len(self._lines)

    def at(self, index: int) -> Example:
        with self._path.open("rb") as file:
            file.seek(self._offsets[index])
            return self._parse(file.readline(), self._lines[index])

    def _parse(self, line: bytes, number: int) -> Example:
        where = f"{self._path}:{number}"
        return self._reader.read(decode(line, where), where, number)
