"""`thinkdial eval`: run budget sweeps, grade, compare, and write reports."""

import argparse
import sys
from collections.abc import Sequence

from evals.commands import (
    compare,
    contamination,
    grade,
    import_runs,
    lm_eval,
    load,
    problems,
    profile,
    report,
    simulate,
    steps,
    sweep,
)
from evals.commands.command import termination_interrupts

_COMMANDS = (
    sweep,
    report,
    compare,
    profile,
    grade,
    problems,
    contamination,
    lm_eval,
    import_runs,
    load,
    simulate,
    steps,
)
_EXAMPLE = """example:
  thinkdial eval sweep --problems thinkmath --limit 400 --budgets 0,8,16,32,64,max --out runs/curve
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `thinkdial eval ARGV`; returns 0, 1 (it failed), 2 (wrong usage) or 130 (interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    options.arguments = arguments
    with termination_interrupts():
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
