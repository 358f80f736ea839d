"""Sources cut to a number of examples."""

from trainer.examples import Example
from trainer.sources.stream import ExampleSource

MOST_REPEATED = 5_000
"""Repeated problems drawn one after another before an endless source counts as used up."""


class First:
    """The first `limit` examples of a finite source."""

    def __init__(self, source: ExampleSource, limit: int) -> None:
        assert source.size is not None
        self.size: int | None = min(limit, source.size)
        self._source = source

    def at(self, index: int) -> Example:
        return self._source.at(index)


class Distinct:
    """The first `limit` examples of an endless source whose problems differ.

    Raises ValueError when the source has fewer.
    """

    def __init__(self, source: ExampleSource, limit: int) -> None:
        self.size: int | None = limit
        self._source = source
        self._indices: list[int] = []
        seen: set[str] = set()
        index = 0
        while len(self._indices) < limit:
            problem = source.at(index).problem.problem
            if problem not in seen:
                seen.add(problem)
                self._indices.append(index)
            elif index - self._indices[-1] > MOST_REPEATED:
                raise ValueError(
                    f"limit: {limit} is more than the source has: after {len(seen)} problems {MOST_REPEATED} "
                    "drawn were all repeated; give a smaller limit"
                )
            index += 1

    def at(self, index: int) -> Example:
        return self._source.at(self._indices[index])
