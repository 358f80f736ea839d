"""`thinkdial eval grade`: grade one answer, or a file of them."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING

from evals.commands.command import FAILED, WRONG_USAGE, fail
from evals.jsonl import decode
from evals.report.tables.table import clean

if TYPE_CHECKING:
    from evals.grading import Grade

_EXAMPLES = r"""examples:
  thinkdial eval grade '\frac{1}{2}' 'So the answer is \boxed{0.5}.'
  thinkdial eval grade --file replies.jsonl --json > grades.jsonl
  thinkdial eval grade --file - --grader math-verify < replies.jsonl

An answer that begins with - goes after --, as in: thinkdial eval grade -- '-x' '\boxed{-x}'

Exit status: of one answer, 0 if it equals the gold and 1 if not; of a file, 0 once every line is graded;
2 for wrong usage, or a line that is not {"gold" or "answer", "response"}.
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "grade",
        help="compare an answer with the expected one",
        description="Find the final answer of a reply (its last box, or what it states; never what stands "
        "before </think>) and compare it with the expected answer. Nothing in either is ever executed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("gold", nargs="?", metavar="GOLD", help="the expected answer")
    parser.add_argument("response", nargs="?", metavar="RESPONSE", help="the reply, or a bare answer")
    parser.add_argument(
        "--file",
        metavar="FILE",
        help='JSONL of {"gold" or "answer", "response"} in place of GOLD and RESPONSE; -: stdin',
    )
    parser.add_argument(
        "--grader",
        choices=("thinkdial", "math-verify", "exact"),
        default="thinkdial",
        help="thinkdial (default); math-verify: that library; exact: the same text",
    )
    parser.add_argument("--json", action="store_true", help="a JSON object for each answer")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Grade what `options` name."""
    if (options.file is None) == (options.response is None):
        return fail("GOLD, RESPONSE: give both, or --file and neither", WRONG_USAGE)
    from evals.grading import grade_many

    try:
        if options.file is None:
            [grade] = grade_many([(options.gold, options.response)], options.grader)
            _print(grade, options.json)
            return 0 if grade.correct else FAILED
        counts: Counter[str] = Counter()
        with nullcontext(sys.stdin) if options.file == "-" else open(options.file, encoding="utf-8") as lines:
            for number, pair in _read(lines):
                [grade] = grade_many([pair], options.grader)
                counts[grade.verdict.value] += 1
                _print_line(number, pair[0], grade, options.json)
    except (ValueError, OSError) as error:
        return fail(str(error), WRONG_USAGE)
    print(_counts(counts), file=sys.stderr if options.json else sys.stdout)
    return 0


def _read(lines: Iterable[str]) -> Iterator[tuple[int, tuple[str, str]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = decode(line, f"line {number}")
        fields = row if isinstance(row, dict) else {}
        gold, response = fields.get("gold", fields.get("answer")), fields.get("response")
        if not isinstance(gold, str | int | float) or not isinstance(response, str):
            raise ValueError(
                f"line {number}: {line.strip()[:80]} is not an answer to grade; "
                'give {"gold": text or number, "response": text}, or "answer" in place of "gold"'
            )
        yield number, (str(gold), response)


def _print(grade: "Grade", as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(grade)))
        return
    print(f"verdict: {grade.verdict}")
    print(f"answer:  {'(none)' if grade.answer is None else clean(grade.answer)}")
    print(f"method:  {grade.method}")


def _print_line(number: int, gold: str, grade: "Grade", as_json: bool) -> None:
    if as_json:
        print(json.dumps({"line": number, "gold": gold, **asdict(grade)}))
    else:
        answer = "(none)" if grade.answer is None else clean(grade.answer)
        print(f"{number:>6}  {grade.verdict:<10}  {answer}  (gold {clean(gold)})")


def _counts(counts: Counter[str]) -> str:
    total = counts.total()
    share = f" ({counts['equal'] / total:.1%})" if total else ""
    others = [f"{count} {verdict}" for verdict, count in counts.most_common() if verdict != "equal"]
    return "; ".join([f"{total} graded, {counts['equal']} equal{share}", *filter(None, [", ".join(others)])])
