"""`thinkdial eval report`: recompute a run's report from its store."""

import argparse
from pathlib import Path

from evals.commands.command import FAILED, WRONG_USAGE, fail


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "report",
        help="recompute a run's report from its store",
        description="Recompute summary.json, report.md, report.html and curve.png from the store of a run, "
        "and print the curve. Nothing is drawn anew.",
    )
    parser.add_argument("directory", type=Path, metavar="RUN", help="run directory")
    parser.add_argument(
        "--grader",
        choices=("thinkdial", "math-verify", "exact", "upstream"),
        default="thinkdial",
        help="who says which answers are right (thinkdial)",
    )
    parser.add_argument(
        "--format",
        choices=("terminal", "markdown", "json"),
        default="terminal",
        help="what is printed: the curve as a table and the files written (default), or the whole report",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (the run directory)")
    parser.add_argument(
        "--samples-in-page",
        type=int,
        default=100,
        metavar="N",
        help="most problems and samples whose replies can be read in report.html (100)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the report of `options.directory`, and print it."""
    from evals.report.write import as_json, markdown, write_report

    if options.samples_in_page < 0:
        return fail(f"--samples-in-page: {options.samples_in_page} is negative; give 0 or more", WRONG_USAGE)
    try:
        summary = write_report(options.directory, options.grader, options.out, options.samples_in_page)
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}", FAILED)
    if options.format == "markdown":
        print(markdown(summary))
    elif options.format == "json":
        print(as_json(summary))
    else:
        _show(summary, options.out or options.directory)
    return 0


def write(directory: Path, failed: bool, grader: str = "thinkdial") -> int:
    """Write the report of a run and print its table and files; 1 if `failed`, else 0."""
    from evals.report.write import write_report

    _show(write_report(directory, grader), directory)
    return FAILED if failed else 0


def _show(summary: dict[str, object], out: Path) -> None:
    from evals.report.write import FILES, terminal

    print(terminal(summary))
    print()
    for name in FILES:
        print(out / name)
