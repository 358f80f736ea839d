"""How right, fast and safe the grading of answers is, on pairs that others have labelled.

    python -m evals.bench.grading --pairs pairs.jsonl --real outputs.jsonl --gold-set answers.jsonl --hostile

    --pairs FILE     {source, gold, answer or response, equal}: accuracy, false positives and negatives
    --real FILE      {source, gold, response, correct}: agreement with labels of whole replies
    --gold-set FILE  {answer}: golds that must equal themselves, and their neighbours only if the same
    --hostile        inputs made to hang a grader or to run code in it

The times are those of one call after another, as a user sees them, after a first one that starts a worker
(its own time is given apart). The status is 1 if a call took over 2 s or code was run, else 0.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.bench.hostile import hostile_pairs
from evals.grading import Grade, grade, grade_many

Grader = Callable[[str, str], Grade]
GRADERS: dict[str, Grader] = {
    "thinkdial": grade,
    "math-verify": lambda gold, response: grade_many([(gold, response)], "math-verify")[0],
    "exact": lambda gold, response: grade_many([(gold, response)], "exact")[0],
}
HANG_SECONDS = 2.0
_FIRST = ("2/0", r"\boxed{1/0}")  # left to computer algebra, which runs in a worker
_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Case:
    """A pair and what is known of it; `equal` is None where only the time counts."""

    source: str
    gold: str
    response: str
    equal: bool | None = None


@dataclass(frozen=True, slots=True)
class Graded:
    """A case, its grade, the seconds that took, and how many of them this process worked."""

    case: Case
    grade: Grade
    seconds: float
    cpu_seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if a call hung or code was run, else 0."""
    parser = argparse.ArgumentParser(prog="python -m evals.bench.grading", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for option in ("pairs", "real", "gold-set"):
        parser.add_argument(f"--{option}", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--grader", choices=GRADERS, default="thinkdial")
    parser.add_argument("--show", action="store_true", help="list what is graded unlike its label")
    options = parser.parse_args(argv)
    grader = GRADERS[options.grader]
    start = time.perf_counter()
    grader(*_FIRST)
    print(f"{options.grader}: first call {time.perf_counter() - start:.2f} s", end="; ")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    hangs = 0
    for path_list, title, read in (
        (options.pairs, "pairs", _pairs),
        (options.real, "real replies", _real),
        (options.gold_set, "golds", _golds),
    ):
        cases = [case for path in path_list for case in read(path)]
        if cases:
            hangs += _measure(title, cases, grader, options.show)
    runs = 0
    if options.hostile:
        with tempfile.TemporaryDirectory() as directory:
            sentinel = Path(directory) / "run"
            cases = [
                Case(name.partition(":")[0], gold, reply) for name, gold, reply in hostile_pairs(sentinel)
            ]
            names = [name for name, _, _ in hostile_pairs(sentinel)]
            hangs += _measure("hostile inputs", cases, grader, options.show, names)
            runs = int(sentinel.exists())
            print(f"code was {'RUN' if runs else 'not run'}")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
    return 1 if hangs or runs else 0


def _pairs(path: Path) -> Iterable[Case]:
    for row in _rows(path):
        response = row["response"] if "response" in row else rf"\boxed{{{row['answer']}}}"
        yield Case(str(row["source"]), str(row["gold"]), str(response), bool(row["equal"]))


def _real(path: Path) -> Iterable[Case]:
    for row in _rows(path):
        yield Case(str(row["source"]), str(row["gold"]), str(row["response"]), bool(row["correct"]))


def _golds(path: Path) -> Iterable[Case]:
    golds = [str(row["answer"]) for row in _rows(path)]
    for gold, neighbour in zip(golds, golds[1:] + golds[:1], strict=True):
        yield Case(f"{path.stem}: itself", gold, rf"\boxed{{{gold}}}", True)
        if gold != neighbour:
            yield Case(f"{path.stem}: neighbour", gold, rf"\boxed{{{neighbour}}}", False)


def _rows(path: Path) -> Iterable[dict[str, object]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _measure(title: str, cases: Sequence[Case], grader: Grader, show: bool, names: Sequence[str] = ()) -> int:
    """Grade the cases and print what came of it; returns how many took over HANG_SECONDS."""
    graded = []
    for case in cases:
        start, cpu_start = time.perf_counter(), time.process_time()
        found = grader(case.gold, case.response)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        graded.append(Graded(case, found, seconds, cpu_seconds))
    groups: dict[str, list[Graded]] = defaultdict(list)
    for item in graded:
        groups[item.case.source].append(item)
    print(f"\n{title:<22} {'n':>6} {'right %':>8} {'FP':>4} {'FN':>4}", end=" ")
    print(f"{'median ms':>9} {'mean':>8} {'p99':>8} {'max':>8} {'> 2 s':>5}")
    for source, items in [*groups.items(), ("ALL", graded)]:
        _print_line(source, items)
    print("verdicts:", _counts(item.grade.verdict.value for item in graded))
    print("methods: ", _counts(item.grade.method for item in graded))
    slowest = max(range(len(graded)), key=lambda number: graded[number].seconds)
    print("slowest: ", names[slowest] if names else graded[slowest].case.gold[:_SHOWN])
    for number, item in enumerate(graded):
        slow = item.seconds > HANG_SECONDS
        if slow or (show and item.case.equal not in (None, item.grade.correct)):
            _print_item(item, names[number] if names else item.case.source, slow)
    return sum(item.seconds > HANG_SECONDS for item in graded)


def _print_line(source: str, items: Sequence[Graded]) -> None:
    labelled = [item for item in items if item.case.equal is not None]
    right = "-"
    if labelled:
        right = f"{sum(i.grade.correct == i.case.equal for i in labelled) / len(labelled):.2%}"[:-1]
    false_positives = sum(item.grade.correct and not item.case.equal for item in labelled)
    false_negatives = sum(not item.grade.correct and bool(item.case.equal) for item in labelled)
    times = sorted(item.seconds * 1e3 for item in items)
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    print(f"{source:<22} {len(items):>6} {right:>8} {false_positives:>4} {false_negatives:>4}", end=" ")
    print(
        f"{statistics.median(times):>9.3f} {statistics.fmean(times):>8.2f} {p99:>8.1f} {times[-1]:>8.1f}",
        end=" ",
    )
    print(f"{sum(item.seconds > HANG_SECONDS for item in items):>5}")


def _print_item(item: Graded, name: str, slow: bool) -> None:
    kind = "FALSE POSITIVE" if item.grade.correct else "FALSE NEGATIVE"
    if slow:
        kind = f"{item.seconds:.1f} s ({item.cpu_seconds:.1f} s of work in this process)"
    print(f"\n{kind}  [{name}]  {item.grade.verdict} by {item.grade.method}")
    print(f"  gold:   {item.case.gold[:_SHOWN]!r}")
    print(f"  reply:  {item.case.response[-_SHOWN:]!r}")
    print(f"  answer: {(item.grade.answer or '')[:_SHOWN]!r}")


def _counts(values: Iterable[str]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for value in values:
        counts[value] += 1
    return ", ".join(f"{value} {count}" for value, count in sorted(counts.items(), key=lambda pair: -pair[1]))


if __name__ == "__main__":
    sys.exit(main())
