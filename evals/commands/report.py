"""`thinkdial eval report`: recompute a run's report from its store."""

import argparse
from pathlib import Path

from evals.commands.command import FAILED, WRONG_USAGE, fail


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "report",
        help="recompute a run's report from its store",
        description="Recompute summary.json, curve.png and report.html from the store of a run.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="run directory")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the report of `options.directory`."""
    try:
        return write(options.directory, failed=False)
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)


def write(directory: Path, failed: bool) -> int:
    """Write the report of a run and print its table and files; 1 if `failed`, else 0."""
    from evals.report import PAGE, PLOT, terminal, write_report
    from evals.summary import SUMMARY

    summary = write_report(directory)
    print(terminal(summary))
    for name in (SUMMARY, PLOT, PAGE):
        print(directory / name)
    return FAILED if failed else 0
