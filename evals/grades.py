"""Grades of a run's answers, kept in `grades.jsonl` beside the store, so that grading is apart from sampling.

Every distinct pair of gold and answer is graded once. A line is keyed by the grader's source, its options,
gold and answer: what a changed grader would say differently is graded again.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import evals.grading
from evals.grading import Grade, Verdict, grade, last_boxed, normalise
from evals.records import content_hash

GRADES = "grades.jsonl"


class Grades:
    """The grades of one run by one grader. Pairs are added, then settled together, then looked up."""

    def __init__(self, directory: Path, grader: str = "thinkdial") -> None:
        self.grader = grader
        self.options: dict[str, Any] = {}
        self._path = directory / GRADES
        self._context = [grader, self.options, _fingerprint()]
        self._stored = _read(self._path)
        self._indices: dict[tuple[str, str], int] = {}
        self._pairs: list[tuple[str, str]] = []
        self._grades: list[Grade] = []
        self._changed = False

    def add(self, gold: str, response: str) -> int:
        """The index of this pair; its grade is there after `settle`."""
        # Responses differ in their words, their final answers hardly do.
        answer = last_boxed(response)
        pair = (gold, "" if answer is None else rf"\boxed{{{answer}}}")
        return self._indices.setdefault(pair, len(self._indices))

    def settle(self) -> None:
        """Grade what was added and is not known yet."""
        self._pairs = list(self._indices)
        for gold, answer in self._pairs[len(self._grades) :]:
            key = content_hash(["grade", *self._context, gold, answer])
            row = self._stored.get(key)
            if row is None:
                graded = grade(gold, answer)
                row = {"key": key, "gold": gold, "answer": graded.answer, "verdict": graded.verdict.value}
                self._store(key, row)
            verdict = Verdict(row["verdict"])
            self._grades.append(Grade(verdict is Verdict.EQUAL, row["answer"], verdict))

    def __getitem__(self, index: int) -> Grade:
        return self._grades[index]

    def classes(self, gold: str, answers: Iterable[tuple[str, bool]]) -> dict[str, int]:
        """The equivalence class of each answer to one problem; class 0 holds those graded right.

        answers: distinct ones with whether they were graded right. The others are compared by the grader
        with one member of every class found before, in sorted order, so that the classes do not depend on
        the order of the records. Different plain integers are different without asking.
        """
        answers = sorted(answers)
        key = content_hash(["classes", *self._context, gold, answers])
        row = self._stored.get(key)
        if row is None:
            row = {"key": key, "gold": gold, "classes": self._partition(answers)}
            self._store(key, row)
        return {answer: number for (answer, _), number in zip(answers, row["classes"], strict=True)}

    def _partition(self, answers: list[tuple[str, bool]]) -> list[int]:
        members: list[str] = []
        numbers = []
        for answer, correct in answers:
            if correct:
                numbers.append(0)
                continue
            for number, member in enumerate(members, start=1):
                if self._same(member, answer):
                    numbers.append(number)
                    break
            else:
                members.append(answer)
                numbers.append(len(members))
        return numbers

    def _same(self, first: str, second: str) -> bool:
        return normalise(first) == normalise(second)

    def _store(self, key: str, row: dict[str, Any]) -> None:
        self._stored[key] = row
        self._changed = True

    def save(self) -> None:
        """Write what was graded anew; the file is replaced whole."""
        if self._changed:
            temporary = self._path.with_suffix(".tmp")
            with temporary.open("w", encoding="utf-8") as file:
                for row in self._stored.values():
                    file.write(json.dumps(row, separators=(",", ":")) + "\n")
            os.replace(temporary, self._path)
            self._changed = False


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8") as lines:
        rows = map(json.loads, lines)
        return {row["key"]: row for row in rows}


def _fingerprint() -> str:
    """Hash of the grader's source files."""
    digest = hashlib.sha256()
    source = Path(evals.grading.__file__)
    files = sorted(source.parent.glob("*.py")) if source.name == "__init__.py" else [source]
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:24]
