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

MAY_LACK_ANSWERS = ("jsonl", "hub", "problems")
"""Kinds of sources whose problems others have written."""


def open_sources(sources: Sequence[Source], seed: int, *, answered: bool = False) -> ExampleStream:
    """The stage's sources as one stream; all files are checked before it is returned.

    answered: every problem must have an answer, since replies are graded.

    Raises:
        ValueError: names the source's number and member, or the file, line and column, and what is wrong.
    """
    opened = []
    for number, source in enumerate(sources):
        try:
            # Sources of one kind differ in their seeds, so that two of thinkmath are not the same problems.
            opened.append(open_source(source, seed * 1000 + number))
            if answered and source.kind in MAY_LACK_ANSWERS:
                _check_answers(opened[-1])
        except ValueError as error:
            raise ValueError(f"data.{number} ({source.kind}): {error}") from error
    return ExampleStream(opened, [source.weight for source in sources], seed)


def _check_answers(examples: ExampleSource) -> None:
    for index in range(examples.size or 0):
        problem = examples.at(index).problem
        if not problem.answer.strip():
            raise ValueError(
                f"row {index + 1}, {problem.id!r}, has no answer, so that no reply to it could be right; "
                "name the answers' column in columns.answer, or leave such rows out"
            )


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
