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
    name: str, split: str, columns: Mapping[str, str], tags: tuple[str, str], options: Mapping[str, Any]
) -> HubDataset:
    """A data set of the hub, or its cache on this machine where the hub does not answer."""
    refuse_evaluation_hub(name, split)
    return _load(name, split, columns, tags, options, Path(name).name)


def open_copy(
    copy: str, split: str, columns: Mapping[str, str], tags: tuple[str, str], options: Mapping[str, Any]
) -> HubDataset:
    """A local folder as the hub would hold it, or one file."""
    from datasets import config

    path = Path(copy)
    if not path.exists():
        raise ValueError(f"path: there is no {str(path)!r}; give a folder or a file")
    refuse_evaluation(path.stem)
    # The cache of `datasets` tells two folders of one name apart by that name only.
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    cache = {"cache_dir": str(Path(config.HF_DATASETS_CACHE) / "thinkdial" / place)}
    if path.is_dir():
        return _load(str(path), split, columns, tags, {**options, **cache}, path.name)
    if path.suffix not in BUILDERS:
        raise ValueError(f"path: {path} is none of {', '.join(BUILDERS)}")
    file = {"data_files": {split.partition("[")[0]: str(path)}, **cache}
    return _load(BUILDERS[path.suffix], split, columns, tags, {**options, **file}, path.stem)


def _load(
    source: str,
    split: str,
    columns: Mapping[str, str],
    tags: tuple[str, str],
    options: Mapping[str, Any],
    name: str,
) -> HubDataset:
    import datasets

    unknown = [option for option in options if option not in (*OPTIONS, "data_files", "cache_dir")]
    if unknown:
        raise ValueError(f"options: {unknown[0]!r} is not known; give {', '.join(OPTIONS)}")
    with no_waiting_when_offline():
        try:
            rows = datasets.load_dataset(source, split=split, **options)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"name: `datasets` did not load {source} (split {split!r}): {type(error).__name__}: {error}"
            ) from error
    return HubDataset(rows, name, RowReader(name, columns, tags))
