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
import re
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Any, NoReturn

from evals.grading import grade
from trainer.sources.procedural import Procedural, all_tasks

SECONDS = 60
RIGHT = 0.999


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
    """How the grader does on the first `items` items of a task."""
    started = time.monotonic()
    task = Procedural(name, {}, seed=1, known=False)
    entries = [task.entry(index) for index in (*range(items - 1), 10**6)]
    seconds = (time.monotonic() - started) / items
    if any(not isinstance(entry["answer"], str) for _, entry in entries):
        return {"task": name, "verdict": "no answer in its items"}
    counts = {"own": 0, "own_scored": 0, "wrong": 0, "accepted": 0, "right": 0, "refused": 0}
    for number, (dataset, entry) in enumerate(entries):
        answer = entry["answer"]
        counts["own"] += _grades(answer, answer)
        counts["own_scored"] += dataset.score_answer(answer, entry) >= RIGHT
        others = [entries[(number + step) % items][1]["answer"] for step in (1, 2, 3)]
        for other in dict.fromkeys([*others, *near_misses(answer)]):
            right = other == answer or dataset.score_answer(other, entry) >= RIGHT
            accepted = _grades(answer, other)
            counts["right" if right else "wrong"] += 1
            counts["refused"] += right and not accepted
            counts["accepted"] += accepted and not right
    content = json.dumps([[entry["question"], entry["answer"]] for _, entry in entries])
    return {
        "task": name,
        "verdict": "",
        **counts,
        "items": items,
        "distinct": len({entry["answer"] for _, entry in entries}),
        "digest": hashlib.sha256(content.encode()).hexdigest()[:12],
        "ms": round(seconds * 1000, 2),
    }


def _grades(gold: str, answer: str) -> bool:
    return grade(gold, f"So the answer is \\boxed{{{answer}}}.").correct


def main() -> None:
    """Print one JSON line a task; without --one, each task is measured twice, in processes of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=40, help="of each task (40)")
    parser.add_argument("--tasks", nargs="*", help="all unless named")
    parser.add_argument("--one", metavar="TASK", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_in_time(options.one, options.items)))
        return
    for name in options.tasks or all_tasks():
        results = []
        for hash_seed in ("1", "2"):
            command = [sys.executable, "-m", __spec__.name, "--one", name, "--items", str(options.items)]
            variables = {"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, env=variables)
            lines = done.stdout.splitlines()
            results.append(
                json.loads(lines[-1])
                if done.returncode == 0
                else {"task": name, "verdict": done.stderr.strip().splitlines()[-1]}
            )
        result = results[0]
        if not result["verdict"]:
            result["verdict"] = _verdict(result, results[1])
        print(json.dumps(result), flush=True)


def _in_time(name: str, items: int) -> dict[str, Any]:
    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return measure(name, items)
    except TimeoutError:
        return {"task": name, "verdict": f"{items} items take more than {SECONDS} s"}


def _verdict(result: dict[str, Any], again: dict[str, Any]) -> str:
    if result["digest"] != again.get("digest"):
        return "other items in another process"
    if result["own"] < result["items"] or result["refused"]:
        return "right answers refused"
    return "wrong answers accepted" if result["accepted"] else "gradable"


if __name__ == "__main__":
    main()
