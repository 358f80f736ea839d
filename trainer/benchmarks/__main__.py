"""The command behind `make bench`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evals.commands.command import FAILED, INTERRUPTED, WRONG_USAGE, termination_interrupts
from trainer.benchmarks.page import write_page
from trainer.benchmarks.plan import BENCHMARKS, for_a_look, select
from trainer.benchmarks.run import RESULTS, commit, run_benchmarks


def main(argv: Sequence[str] | None = None) -> int:
    """Run benchmarks and write their page; returns 0, 1 (one did not end well), 2 (misused) or 130."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.benchmarks",
        description="Run the benchmarks of all rooms one after another, and put their ratios to peers on one "
        "page. The same command again skips what this commit has measured.",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/bench"), metavar="DIR", help="where (runs/bench)"
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="NAMES",
        help="rooms and benchmarks, with commas: " + ", ".join(b.name for b in BENCHMARKS),
    )
    parser.add_argument("--quick", action="store_true", help="less of each, for a look")
    parser.add_argument("--again", action="store_true", help="repeat what this commit has measured")
    parser.add_argument("--plan", action="store_true", help="print the commands and run none")
    options = parser.parse_args(argv)
    try:
        chosen = select([name for name in options.only.split(",") if name])
    except ValueError as error:
        return _fail(str(error), WRONG_USAGE)
    if options.quick:
        chosen = [for_a_look(benchmark) for benchmark in chosen]
    if options.plan:
        print("\n".join(f"{b.line(options.out / b.name)}   # {b.minutes:g} min" for b in chosen))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        with termination_interrupts():
            gathered = run_benchmarks(chosen, options.out, commit=commit(), again=options.again, tell=_tell)
    except KeyboardInterrupt:
        return _fail("stopped; the same command goes on with the benchmark that ran", INTERRUPTED)
    print(f"numbers: {options.out / RESULTS}\npage: {write_page(options.out, gathered)}")
    failed = [b.name for b in chosen if gathered["benchmarks"][b.name]["status"]]
    return _fail(f"not well ended: {', '.join(failed)}", FAILED) if failed else 0


def _tell(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)


def _fail(message: str, status: int) -> int:
    print(f"bench: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
