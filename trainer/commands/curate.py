"""`thinkdial train curate`: choose the problems to train on, and say what was left out and why."""

import argparse
from pathlib import Path

from trainer.commands.command import INTERRUPTED, WRONG_USAGE, fail

_EXAMPLE = """example:
  thinkdial train curate curation.toml --out runs/curated

curation.toml:
  [[sources]]
  kind = "jsonl"
  path = "problems.jsonl"
  [[steps]]
  kind = "decontaminate"
  problems = ["math500", "aime25"]
  [[steps]]
  kind = "duplicates"

Steps: decontaminate, duplicates, forms, verifiable, lucky, balance, curriculum; with a [model] also
pass_rate, guessable, and lucky over its tries. The folder then holds kept.jsonl, which a recipe takes as a
source of kind "jsonl", dropped.jsonl and report.json.
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "curate",
        help="choose the problems to train on",
        description="Run the steps of a curation file over its sources. The same command again goes on with "
        "a stopped one: replies that were sampled are kept.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="TOML file with sources and steps")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of what is kept and what is dropped"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Curate, and print what each step dropped."""
    from trainer.curation.config import load_curation
    from trainer.curation.pipeline import curate, in_words

    try:
        report = curate(load_curation(options.config), options.out)
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    except KeyboardInterrupt:
        return fail("stopped; the same command goes on from the replies already sampled", INTERRUPTED)
    print(in_words(report))
    return 0
