"""Problem sets from JSONL files: one `{id, problem, answer, level?, subject?, chance?}` object a line."""

import json
from pathlib import Path

from evals.problems.problem import Problem


def read_jsonl(path: Path) -> list[Problem]:
    """Read every problem of `path`; members beyond those of `Problem` are metadata and not read.

    Raises:
        ValueError: a line is not a JSON object, lacks a member, has one of the wrong type, or repeats an id.
    """
    problems: dict[str, Problem] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            problem = _parse(line, where=f"{path}:{number}")
            if problem.id in problems:
                raise ValueError(f"{path}:{number}: id {problem.id!r} is already taken by an earlier line")
            problems[problem.id] = problem
    return list(problems.values())


def _parse(line: str, where: str) -> Problem:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(row).__name__}")
    for name in ("id", "problem", "answer"):
        if name not in row:
            raise ValueError(f"{where}: member {name!r} is missing; expected id, problem and answer")
        if not isinstance(row[name], str | int) or isinstance(row[name], bool):
            raise ValueError(f"{where}: member {name!r} is {row[name]!r}; expected a string")
    chance = row.get("chance")
    if chance is not None and not (isinstance(chance, int | float) and 0 <= chance <= 1):
        raise ValueError(f"{where}: member 'chance' is {chance!r}; expected a number between 0 and 1")
    return Problem(
        id=str(row["id"]),
        problem=str(row["problem"]),
        answer=str(row["answer"]),
        level=row.get("level"),
        subject=row.get("subject"),
        chance=chance,
    )
