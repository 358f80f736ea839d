"""Problem sets from JSONL files: one `{id, problem, answer, level?, subject?, chance?}` object a line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.jsonl import read_objects
from evals.problems.hub import level_of
from evals.problems.problem import Problem


def read_jsonl(path: Path, name: str) -> list[Problem]:
    """Read every problem of `path`; members beyond those of `Problem` are metadata and not read.

    name: of the set; ids that do not begin with it are prefixed by it, so that sets can be asked together.

    Raises:
        ValueError: a line is not a JSON object, lacks a member, has one of the wrong type, or repeats an id.
    """
    problems: dict[str, Problem] = {}
    for where, row in read_objects(path):
        problem = _problem(row, name, where)
        if problem.id in problems:
            raise ValueError(f"{where}: id {problem.id!r} is already taken by an earlier line")
        problems[problem.id] = problem
    return list(problems.values())


def _problem(row: Mapping[str, Any], name: str, where: str) -> Problem:
    for member in ("id", "problem", "answer"):
        if member not in row:
            raise ValueError(f"{where}: member {member!r} is missing; expected id, problem and answer")
        if not isinstance(row[member], str | int) or isinstance(row[member], bool):
            raise ValueError(f"{where}: member {member!r} is {row[member]!r}; expected a string")
    chance = row.get("chance")
    if chance is not None and not (isinstance(chance, int | float) and 0 <= chance <= 1):
        raise ValueError(f"{where}: member 'chance' is {chance!r}; expected a number between 0 and 1")
    subject = row.get("subject")
    if not isinstance(subject, str | None):
        raise ValueError(f"{where}: member 'subject' is {subject!r}; expected a string")
    return Problem(
        id=prefixed(name, str(row["id"])),
        problem=str(row["problem"]),
        answer=str(row["answer"]),
        level=level_of(row.get("level")),
        subject=subject,
        chance=chance,
        set=name,
    )


def prefixed(name: str, identity: str) -> str:
    """An id that begins with the name of its set."""
    begins = re.match(rf"{re.escape(name)}(?![^\W_])", identity)
    return identity if begins else f"{name}/{identity}"
