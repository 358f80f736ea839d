"""Any data set that `datasets` loads: from the hub, from its cache, from a local folder or file."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.problems.hub import no_waiting_when_offline
from trainer.examples import Example
from trainer.sources.problem_sets import refuse_evaluation, refuse_evaluation_hub
from trainer.sources.rows import RowReader

BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}
"""The builder of `datasets` that reads a file, by its ending."""
OPTIONS = ("name", "revision", "data_dir")


class HubDataset:
    """The rows of one split in their order. All are checked once; examples are read when asked for."""

    size: int | None

    def __init__(self, rows: Any, name: str, reader: RowReader) -> None:
        """Raises ValueError: no row, or one that is no example."""
        self._rows = rows
        self._name = name
        self._reader = reader
        self.size = len(rows)
        if not self.size:
            raise ValueError(f"split: {name} has no row")
        for index in range(self.size):
            self.at(index)

    def at(self, index: int) -> Example:
        return self._reader.read(self._rows[index], f"{self._name} row {index}", index)


def open_hub(
    name: str,
    path: Path | None,
    split: str,
    columns: Mapping[str, str],
    tags: tuple[str, str],
    options: Mapping[str, Any],
) -> HubDataset:
    """A data set of the hub, or of its cache on this machine where the hub does not answer.

    path: a folder as the hub would hold it, or one file; with a name, a copy of that data set.

    Raises:
        ValueError: an evaluation set, nothing at `path`, what `datasets` does not load, or a row that is no
            example.
    """
    import datasets

    unknown = [option for option in options if option not in OPTIONS]
    if unknown:
        raise ValueError(f"options: {unknown[0]!r} is not known; give {', '.join(OPTIONS)}")
    if name:
        refuse_evaluation_hub(name, split)
    source, place = (name, {}) if path is None else _copy(path, split)
    with no_waiting_when_offline():
        try:
            rows = datasets.load_dataset(source, split=split, **options, **place)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"name: `datasets` did not load {path or name} (split {split!r}): "
                f"{type(error).__name__}: {error}"
            ) from error
    stem = path.stem if path else Path(name).name
    return HubDataset(rows, stem, RowReader(stem, columns, tags))


def _copy(path: Path, split: str) -> tuple[str, dict[str, Any]]:
    """What `datasets` is asked for a local folder or file."""
    from datasets import config

    refuse_evaluation(path.stem)
    # The cache of `datasets` tells two folders of one name apart by that name only.
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    cache = {"cache_dir": str(Path(config.HF_DATASETS_CACHE) / "thinkdial" / digest)}
    if path.is_dir():
        return str(path), cache
    if not path.is_file() or path.suffix not in BUILDERS:
        known = ", ".join(BUILDERS)
        raise ValueError(f"path: {str(path)!r} is no folder and no file of {known}; give one")
    return BUILDERS[path.suffix], {"data_files": {split.partition("[")[0]: str(path)}, **cache}
