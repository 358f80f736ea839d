"""`thinkdial train traces`: sample replies of a stage, to read."""

import argparse
import sys
from pathlib import Path

from trainer.commands.command import WRONG_USAGE, fail

_EXAMPLE = """examples:
  thinkdial train traces runs/tiny/general_rl
  thinkdial train traces runs/tiny/general_rl --from-step 200 --last 8
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "traces",
        help="print sample replies of a stage",
        description="Print the sample replies that a stage wrote to its traces.jsonl. What was inserted, not "
        "sampled (the early-stop text) stands between ⟦ and ⟧.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="a stage's folder")
    parser.add_argument("--from-step", type=int, default=0, metavar="STEP", help="leave out earlier steps")
    parser.add_argument("--last", type=int, metavar="N", help="print the last N only")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print them."""
    from trainer.progress.records import read_records
    from trainer.progress.traces import render_trace

    path = options.folder / "traces.jsonl"
    if not path.is_file():
        return fail(f"DIR: {options.folder} has no traces.jsonl; give a stage's folder", WRONG_USAGE)
    if options.last is not None and options.last < 1:
        return fail(f"--last: {options.last} is no number of replies; give 1 or more", WRONG_USAGE)
    traces = [trace for trace in read_records(path) if trace["step"] >= options.from_step]
    for trace in traces[-(options.last or len(traces)) :]:
        sys.stdout.write(f"{render_trace(trace)}\n")
    return 0
