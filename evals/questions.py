"""The texts of a run's problems, kept beside its replies for whoever reads them.

Replies name their problem by its id; problem sets move, and are not at hand wherever a run is read.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from evals.jsonl import read_objects
from evals.problems import Problem

QUESTIONS = "problems.jsonl"


def store_questions(directory: Path, problems: Iterable[Problem]) -> None:
    """Add the texts of `problems` to those of a run; the file is replaced whole."""
    texts = read_questions(directory) | {problem.id: problem.problem for problem in problems}
    temporary = directory / f"{QUESTIONS}.tmp"
    with temporary.open("w", encoding="ascii") as file:
        for id, text in texts.items():
            file.write(json.dumps({"id": id, "problem": text}) + "\n")
    os.replace(temporary, directory / QUESTIONS)


def read_questions(directory: Path) -> dict[str, str]:
    """The texts of a run's problems by id; empty for a run without. ValueError for a line that is none."""
    path = directory / QUESTIONS
    if not path.is_file():
        return {}
    texts = {}
    for where, row in read_objects(path):
        if not isinstance(row.get("id"), str) or not isinstance(row.get("problem"), str):
            raise ValueError(f"{where}: not the text of a problem; expected id and problem, both strings")
        texts[row["id"]] = row["problem"]
    return texts
