"""From a recipe's `[[data]]` tables to a stream of examples."""

from collections.abc import Sequence

from trainer.recipe.data import Source
from trainer.sources.finite import Distinct, First
from trainer.sources.hub import open_hub
from trainer.sources.jsonl import Jsonl
from trainer.sources.problem_sets import open_problem_set, refuse_evaluation
from trainer.sources.procedural import Procedural
from trainer.sources.rows import RowReader
from trainer.sources.stream import ExampleSource, ExampleStream
from trainer.sources.thinkmath import Thinkmath


def open_sources(sources: Sequence[Source], seed: int) -> ExampleStream:
    """The stage's sources as one stream; all files are checked before it is returned.

    Raises:
        ValueError: names the source's number and member, or the file, line and column, and what is wrong.
    """
    opened = []
    for number, source in enumerate(sources):
        try:
            # Sources of one kind differ in their seeds, so that two of thinkmath are not the same problems.
            opened.append(open_source(source, seed * 1000 + number))
        except ValueError as error:
            raise ValueError(f"data.{number} ({source.kind}): {error}") from error
    return ExampleStream(opened, [source.weight for source in sources], seed)


def open_source(source: Source, seed: int) -> ExampleSource:
    """One source in its own order, cut to its limit."""
    examples = _open(source, seed)
    if source.limit is None:
        return examples
    return Distinct(examples, source.limit) if examples.size is None else First(examples, source.limit)


def _open(source: Source, seed: int) -> ExampleSource:
    if source.kind == "thinkmath":
        return Thinkmath(seed, source.levels, source.terse)
    if source.kind == "problems":
        return open_problem_set(source.name, source.path, source.split)
    if source.kind == "reasoning_gym":
        return Procedural(source.name, source.options, seed)
    if source.kind == "hub":
        return open_hub(
            source.name, source.path, source.split, source.columns, source.think_tags, source.options
        )
    assert source.path is not None
    refuse_evaluation(source.path.stem)
    return Jsonl(source.path, RowReader(source.path.stem, source.columns, source.think_tags))
