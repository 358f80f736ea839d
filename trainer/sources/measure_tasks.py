"""Which of reasoning-gym's tasks our grader grades as they do: `python -m trainer.sources.measure_tasks`.

For each of a task's items the grader is asked about the task's own answer, the answers of other items, and
near misses: a digit changed, two neighbouring words swapped, a part left out, a number rounded. What the task
itself scores as right or wrong is the truth. Where the same items come out in another process with another
hash seed, and the grader never errs, the task is gradable (`procedural.GRADABLE`), unless it has several
right answers.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn, TypeVar

from evals.grading import grade
from trainer.sources.procedural import Procedural, all_tasks

SECONDS = 60
RIGHT = 0.999
Result = TypeVar("Result")


def near_misses(answer: str) -> list[str]:
    """Answers close to `answer`, most of them wrong."""
    found = []
    digits = list(re.finditer(r"\d", answer))
    if digits:
        for digit in (digits[0], digits[-1]):
            changed = str((int(digit[0]) + 1) % 10)
            found.append(answer[: digit.start()] + changed + answer[digit.end() :])
    parts = re.split(r"(\s+|,)", answer)
    if len(parts) > 2:
        found += ["".join(parts[:-2]), "".join(parts[2:])]
        found.append("".join([parts[2], parts[1], parts[0], *parts[3:]]))
        found.append("".join([*parts[:-3], parts[-1], parts[-2], parts[-3]]))
    if re.fullmatch(r"-?\d*\.\d+", answer):
        found += [f"{float(answer):.{places}f}" for places in (1, 2, 4)]
    if not digits and len(parts) == 1:
        found += [answer[:-1], answer + "s", answer[::-1]]
    return [other for other in found if other.strip() and other.strip() != answer.strip()]


def measure(name: str, items: int) -> dict[str, Any]:
    """How the grader does on `items` items of a task."""
    started = time.monotonic()
    entries = _entries(name, items)
    seconds = (time.monotonic() - started) / items
    if any(not isinstance(entry["answer"], str) for _, entry in entries):
        return {"task": name, "verdict": "items without an answer"}
    counts = {"own": 0, "wrong": 0, "accepted": 0, "right": 0, "refused": 0}
    for number, (dataset, entry) in enumerate(entries):
        answer = entry["answer"]
        counts["own"] += _grades(answer, answer) and dataset.score_answer(answer, entry) >= RIGHT
        others = [entries[(number + step) % items][1]["answer"] for step in (1, 2, 3)]
        for other in dict.fromkeys([*others, *near_misses(answer)]):
            right = other == answer or dataset.score_answer(other, entry) >= RIGHT
            accepted = _grades(answer, other)
            counts["right" if right else "wrong"] += 1
            counts["refused"] += right and not accepted
            counts["accepted"] += accepted and not right
    if counts["own"] < items or counts["refused"]:
        verdict = "right answers refused"
    else:
        verdict = "wrong answers accepted" if counts["accepted"] else "gradable"
    answers = len({entry["answer"] for _, entry in entries})
    milliseconds = round(seconds * 1000, 2)
    return {"task": name, "verdict": verdict, **counts, "answers": answers, "milliseconds": milliseconds}


def digest(name: str, items: int) -> str:
    """Of what the same items are in this process."""
    content = json.dumps([[entry["question"], entry["answer"]] for _, entry in _entries(name, items)])
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _entries(name: str, items: int) -> list[tuple[Any, dict[str, Any]]]:
    task = Procedural(name, {}, seed=1, known=False)
    return [task.entry(index) for index in (*range(items - 1), 10**6)]


def _grades(gold: str, answer: str) -> bool:
    return grade(gold, f"So the answer is \\boxed{{{answer}}}.").correct


def main() -> None:
    """Print one JSON line a task. A second process with another hash seed makes the same items."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=40, help="of each task (40)")
    parser.add_argument("--tasks", nargs="*", help="all unless named")
    parser.add_argument("--digests", action="store_true", help="print only what each task's items are")
    options = parser.parse_args()
    tasks = options.tasks or all_tasks()
    if options.digests:
        print(json.dumps({name: _in_time(digest, name, options.items) for name in tasks}))
        return
    command = [sys.executable, "-m", __spec__.name, "--digests", "--items", str(options.items), "--tasks"]
    with subprocess.Popen(
        [*command, *tasks], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHASHSEED": "7"}
    ) as other:
        own = {name: _in_time(digest, name, options.items) for name in tasks}
        results = []
        for name in tasks:
            results.append(_in_time(measure, name, options.items))
            print(f"{name}: {results[-1]}", file=sys.stderr)
        assert other.stdout is not None
        others = json.loads(other.stdout.read().splitlines()[-1])
    for name, result in zip(tasks, results, strict=True):
        row = {"task": name, "verdict": result} if isinstance(result, str) else result
        if row["verdict"] == "gradable" and own[name] != others[name]:
            row["verdict"] = "other items in another process"
        print(json.dumps(row))


def _in_time(function: Callable[[str, int], Result], name: str, items: int) -> Result | str:
    """What the function returns, or in words why it did not."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise TimeoutError(f"more than {SECONDS} s for {items} items")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return function(name, items)
    except Exception as error:  # whatever a task raises is a finding about it
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    main()
