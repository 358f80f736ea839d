"""`thinkdial eval compare`: the curves of two or more runs, paired by problem."""

import argparse
from pathlib import Path

from evals.commands.command import FAILED, WRONG_USAGE, fail

_EXAMPLE = """example:
  thinkdial eval compare runs/before runs/after
  thinkdial eval compare runs/a runs/b runs/c --markdown > comparison.md
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "compare",
        help="compare the curves of two or more runs, paired by problem",
        description="Compare runs on the problems and budgets they share: paired differences with bands, "
        "corrected for the number of budgets, and a verdict in words.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "directories", type=Path, nargs="+", metavar="DIR", help="two run directories or more"
    )
    parser.add_argument(
        "--grader",
        choices=("thinkdial", "math-verify", "exact", "upstream"),
        default="thinkdial",
        help="who grades all of the runs (thinkdial)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print Markdown")
    form.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a file too: .html, .md or .json")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compare, print, and write what was asked for."""
    import json

    from evals.compare.compare import compare
    from evals.compare.tables import as_markdown, terminal

    if options.out is not None and options.out.suffix not in (".html", ".md", ".json"):
        message = f"--out: {options.out} is no .html, .md or .json file; give a name that ends so"
        return fail(message, WRONG_USAGE)
    try:
        comparison = compare(options.directories, options.grader)
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}", FAILED)
    as_json = json.dumps(comparison, indent=1, allow_nan=False) + "\n"
    if options.json:
        print(as_json, end="")
    else:
        print(as_markdown(comparison) if options.markdown else terminal(comparison))
    if options.out is None:
        return 0
    if options.out.suffix == ".html":
        from evals.compare.page import compare_page

        text = compare_page(comparison)
    else:
        text = as_json if options.out.suffix == ".json" else as_markdown(comparison)
    try:
        options.out.write_text(text, "utf-8")
    except OSError as error:
        return fail(f"--out: {options.out} cannot be written ({error.strerror})", FAILED)
    return 0
