"""Grades of a run's answers, kept in `grades.jsonl` beside the store, so that grading is apart from sampling.

Every distinct pair of gold and answer is graded once. A line is keyed by the grader's source, its options,
gold and answer: what a changed grader might say differently is graded again.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import evals.grading
from evals.grading import Grade, GradingOptions, Verdict, equivalent, final_answer, grade_many
from evals.grading.extract import bare_answer
from evals.jsonl import read_objects
from evals.records import content_hash

GRADES = "grades.jsonl"
_VERDICTS = [verdict.value for verdict in Verdict]
_GROUPING = GradingOptions(symbolic=False)
"""Answers are grouped without computer algebra: every pair of wrong answers to a problem may be compared."""


class Grades:
    """The grades of one run by one grader. Pairs are added, then settled together, then looked up."""

    def __init__(self, directory: Path, grader: str = "thinkdial") -> None:
        """Raises ValueError for a file of grades that is not one, which may be deleted."""
        self.grader = grader
        self.options: dict[str, Any] = asdict(GradingOptions()) if grader == "thinkdial" else {}
        self._path = directory / GRADES
        self._context = [grader, self.options, _fingerprint(grader)]
        self._stored = _read(self._path)
        self._indices: dict[tuple[str, str], int] = {}
        self._grades: list[Grade] = []
        self._changed = False

    def add(self, gold: str, response: str, answer: str | None) -> int:
        """The index of this pair; its grade is there after `settle`. answer: `final_answer(response)`.

        Responses differ in their words, their final answers hardly do: where the grader looks at nothing
        else, the final answer alone in a box stands for the response.
        """
        boxed = rf"\boxed{{{answer}}}"
        alone = self.grader in ("thinkdial", "exact") and bare_answer(response) is None
        if answer is None and not response.strip():
            response = ""
        elif answer is not None and (alone or "\\boxed" in response) and final_answer(boxed) == answer:
            response = boxed
        return self._indices.setdefault((gold, response), len(self._indices))

    def settle(self) -> None:
        """Grade what was added and is not known yet."""
        pairs = list(self._indices)[len(self._grades) :]
        keys = [content_hash(["grade", *self._context, *pair]) for pair in pairs]
        unknown = [(key, pair) for key, pair in zip(keys, pairs, strict=True) if key not in self._stored]
        graded = grade_many([pair for _, pair in unknown], self.grader)
        for (key, (gold, _)), found in zip(unknown, graded, strict=True):
            row = {"key": key, "gold": gold, "answer": found.answer}
            self._store(row | {"verdict": found.verdict.value, "method": found.method})
        for key in keys:
            stored = self._stored[key]
            verdict = Verdict(stored["verdict"])
            self._grades.append(Grade(verdict is Verdict.EQUAL, stored["answer"], verdict, stored["method"]))

    def __getitem__(self, index: int) -> Grade:
        return self._grades[index]

    def classes(self, gold: str, answers: Iterable[tuple[str, bool]]) -> dict[tuple[str, bool], int]:
        """The equivalence class of each answer to one problem; class 0 holds those graded right.

        answers: distinct ones with whether they were graded right. The others are compared with one member of
        every class found before, in sorted order, so that the classes do not depend on the order of the
        records.
        """
        answers = sorted(answers)
        key = content_hash(["classes", *self._context, gold, answers])
        row = self._stored.get(key)
        if row is None:
            row = {"key": key, "gold": gold, "classes": _partition(answers)}
            self._store(row)
        return dict(zip(answers, row["classes"], strict=True))

    def _store(self, row: dict[str, Any]) -> None:
        self._stored[row["key"]] = row
        self._changed = True

    def save(self) -> None:
        """Write what was graded anew; the file is replaced whole."""
        if self._changed:
            temporary = self._path.with_name(f"{GRADES}.tmp")
            with temporary.open("w", encoding="ascii") as file:
                for row in self._stored.values():
                    file.write(json.dumps(row, separators=(",", ":")) + "\n")
            os.replace(temporary, self._path)
            self._changed = False


def _partition(answers: list[tuple[str, bool]]) -> list[int]:
    members: list[str] = []
    numbers = []
    for answer, correct in answers:
        if correct:
            numbers.append(0)
            continue
        for number, member in enumerate(members, start=1):
            if equivalent(member, answer, _GROUPING):
                numbers.append(number)
                break
        else:
            members.append(answer)
            numbers.append(len(members))
    return numbers


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    grades = {}
    try:
        for where, row in read_objects(path):
            if not isinstance(row.get("key"), str) or not (_is_grade(row) or _is_classes(row)):
                raise ValueError(f"{where}: neither a grade nor classes")
            grades[row["key"]] = row
    except ValueError as error:
        raise ValueError(f"{path}: not a file of grades ({error}); delete it to grade anew") from error
    return grades


def _is_grade(row: dict[str, Any]) -> bool:
    texts = isinstance(row.get("answer"), str | None) and isinstance(row.get("method"), str | None)
    return texts and row.get("verdict") in _VERDICTS


def _is_classes(row: dict[str, Any]) -> bool:
    classes = row.get("classes")
    return isinstance(classes, list) and all(type(number) is int for number in classes)


def _fingerprint(grader: str) -> str:
    """Hash of the grader's source files, and the version of a library that grades."""
    digest = hashlib.sha256()
    for file in sorted(Path(evals.grading.__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    if grader == "math-verify":
        digest.update(version("math-verify").encode())
    return digest.hexdigest()[:24]
