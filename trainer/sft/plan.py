"""Which rows each optimizer step trains on: a function of the step, the same on every process.

Steps come in chunks. A chunk's rows are drawn, sorted by length so that little is padding (or packed into
sequences) and cut into as many batches of like size as the chunk has steps, which come in random order.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from trainer.recipe.stages import SFTStage
from trainer.rows.row import Row

CHUNK_STEPS = 32
SAMPLED_ROWS = 256
"""Rows whose mean length says how many make a chunk."""

Sequences = list[list[Row]]
"""Each holds one row, or several where they are packed."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one process does in one step: micro-batches of sequences, as many as every other process's.

    weight: the sum of loss weights of the step's rows, on all processes. tokens: padding included, likewise.
    """

    micro_batches: list[Sequences]
    weight: float
    tokens: int


class Rows(Protocol):
    """Rows by number, each a function of the number alone. size: how many; None is endless."""

    @property
    def seed(self) -> int: ...

    @property
    def size(self) -> int | None: ...

    def at(self, index: int) -> Row | str:
        """Row `index`, or why it is left out."""
        ...


class Plan:
    """The steps of a stage.

    steps: how many. rows: how many rows in all, None where the stage ends by tokens. rows_per_chunk: how many
    rows are drawn for CHUNK_STEPS steps. left_out: why how many of the first SAMPLED_ROWS are left out.
    """

    def __init__(self, source: Rows, stage: SFTStage, processes: int = 1) -> None:
        """Raises ValueError if none of the first rows can be used, or for epochs of an endless source."""
        self._source, self._stage, self._processes = source, stage, processes
        drawn = [source.at(index) for index in range(SAMPLED_ROWS)]
        rows = _usable(drawn, f"{stage.name}: the first {SAMPLED_ROWS} rows")
        self.left_out = Counter(row for row in drawn if isinstance(row, str))
        tokens = sum(len(row.ids) for row in rows)
        if tokens > stage.batch_tokens * len(rows):
            raise ValueError(
                f"{stage.name}.batch_tokens: {stage.batch_tokens} is wrong because a row has "
                f"{tokens / len(rows):.0f} tokens on average; give more"
            )
        self.rows_per_chunk = round(CHUNK_STEPS * stage.batch_tokens * len(drawn) / tokens)
        self.rows = self._all_rows()
        if self.rows is None:
            assert stage.tokens is not None
            self.steps = math.ceil(stage.tokens / stage.batch_tokens)
        else:
            self.steps = max(1, math.ceil(self.rows / self.rows_per_chunk * CHUNK_STEPS))
        self._chunk = lru_cache(maxsize=2)(self._make_chunk)

    def share(self, step: int, process: int = 0) -> Share:
        """What `process` trains on in `step`, counted from 0."""
        chunk, place = divmod(step, CHUNK_STEPS)
        batch = self._chunk(chunk)[place]
        micro_batches = self._micro_batches(batch)
        return Share(
            micro_batches[process :: self._processes],
            weight=sum(_trained_weight(sequence) for sequence in batch),
            tokens=sum(_area([_length(sequence) for sequence in part]) for part in micro_batches),
        )

    def _all_rows(self) -> int | None:
        epochs, size = self._stage.epochs, self._source.size
        if epochs is None:
            return None
        if size is None:
            raise ValueError(
                f"{self._stage.name}.epochs: {epochs} is wrong because the data is endless; give tokens"
            )
        return max(1, round(size * epochs))

    def _make_chunk(self, chunk: int) -> list[Sequences]:
        first, steps = chunk * self.rows_per_chunk, CHUNK_STEPS
        last = first + self.rows_per_chunk
        if self.rows is not None and last > self.rows:
            last, steps = self.rows, self.steps - chunk * CHUNK_STEPS
        drawn = [self._source.at(index) for index in range(first, last)]
        rows = _usable(drawn, f"{self._stage.name}: rows {first} to {last - 1}")
        length = min(self._stage.max_length, self._stage.batch_tokens) if self._stage.packing else 0
        sequences = pack(rows, length)
        while len(sequences) < steps:
            # Every step must train on something: here some rows come twice.
            sequences += sequences[: steps - len(sequences)]
        sequences.sort(key=_length)
        lengths = [_length(sequence) for sequence in sequences]
        batches = [sequences[begin:end] for begin, end in partition(lengths, steps)]
        random.Random(f"{self._source.seed}-{self._stage.name}-chunk-{chunk}").shuffle(batches)
        return batches

    def _micro_batches(self, batch: Sequences) -> list[Sequences]:
        """Parts of like size, as few as `micro_batch_tokens` allows, equally many for every process."""
        lengths = [_length(sequence) for sequence in batch]
        parts = divide(lengths, self._stage.micro_batch_tokens, self._processes)
        return [batch[begin:end] for begin, end in parts]


def _usable(drawn: Sequence[Row | str], what: str) -> list[Row]:
    """The rows that are not left out. Raises ValueError if there are none."""
    rows = [row for row in drawn if isinstance(row, Row)]
    if not rows:
        raise ValueError(
            f"{what} cannot be trained on: {dict(Counter(map(str, drawn)))}; give data with worked "
            "replies, or a larger max_length"
        )
    return rows


def pack(rows: Sequence[Row], length: int) -> Sequences:
    """Rows in sequences of at most `length` tokens, or of one longer row: first fit, longest first."""
    sequences: Sequences = []
    room: list[int] = []
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        size = len(row.ids)
        place = next((index for index, free in enumerate(room) if free >= size), None)
        if place is None:
            sequences.append([row])
            room.append(length - size)
        else:
            sequences[place].append(row)
            room[place] -= size
    return sequences


def divide(lengths: Sequence[int], limit: int | None, processes: int) -> list[tuple[int, int]]:
    """Cut ascending lengths into parts of at most `limit` padded tokens, or of one row that has more.

    Bounds (begin, end) of each: as few as can be, and as many for every process; some may be empty.
    """
    count = processes
    while True:
        parts = partition(lengths, count)
        largest = max(_area(lengths[begin:end]) for begin, end in parts)
        if limit is None or largest <= limit or count >= len(lengths):
            return parts
        count += processes


def partition(lengths: Sequence[int], parts: int) -> list[tuple[int, int]]:
    """Cut ascending lengths into `parts` runs, the largest of which has the fewest tokens, padding included.

    Bounds (begin, end) of each; with fewer lengths than parts, the last ones are empty.
    """
    low, high = max(lengths, default=0), _area(lengths)
    while low < high:
        middle = (low + high) // 2
        if len(_runs(lengths, middle)) <= parts:
            high = middle
        else:
            low = middle + 1
    runs = _runs(lengths, low)
    while len(runs) < min(parts, len(lengths)):
        index = max(range(len(runs)), key=lambda index: runs[index][1] - runs[index][0])
        begin, end = runs[index]
        middle = (begin + end) // 2
        runs[index : index + 1] = [(begin, middle), (middle, end)]
    return runs + [(len(lengths), len(lengths))] * (parts - len(runs))


def _runs(lengths: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Runs that are each as long as `most` padded tokens allow."""
    runs = []
    begin = 0
    for index, length in enumerate(lengths):
        if length * (index + 1 - begin) > most and index > begin:
            runs.append((begin, index))
            begin = index
    if begin < len(lengths):
        runs.append((begin, len(lengths)))
    return runs


def _length(sequence: Sequence[Row]) -> int:
    return sum(len(row.ids) for row in sequence)


def _area(lengths: Sequence[int]) -> int:
    return max(lengths, default=0) * len(lengths)


def _trained_weight(sequence: Sequence[Row]) -> float:
    return sum(sum(row.weights) for row in sequence)
