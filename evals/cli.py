"""`thinkdial eval`: run budget sweeps, grade, compare, and write reports."""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from evals.commands import (
    compare,
    contamination,
    grade,
    import_runs,
    lm_eval,
    problems,
    profile,
    report,
    sweep,
)

_COMMANDS = (sweep, report, compare, profile, grade, problems, contamination, lm_eval, import_runs)
_EXAMPLE = """example:
  thinkdial eval sweep --problems thinkmath --limit 400 --budgets 0,8,16,32,64,max --out runs/curve
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `thinkdial eval ARGV`; returns 0, 1 (it failed), 2 (wrong usage) or 130 (interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    options.arguments = arguments
    with _termination_interrupts():
        status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thinkdial eval",
        description="Measure accuracy against thinking budget.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that a server started here is stopped too."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
