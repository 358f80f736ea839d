"""`thinkdial eval contamination`: which problems of an evaluation stand in the training data."""

import argparse
import json
from pathlib import Path

from evals.commands.command import FAILED, WRONG_USAGE, fail

_EXAMPLE = """example:
  thinkdial eval contamination --train sft.jsonl corpus.txt --problems math500 aime25 --out overlap.json

Exit status: 0 no problem is contaminated, 1 some are, 2 wrong usage.
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    from evals.contamination import NGRAM, SHARE

    parser = commands.add_parser(
        "contamination",
        help="find evaluation problems in training data by n-gram overlap",
        description="Find evaluation problems in training data by the overlap of word n-grams.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--train",
        nargs="+",
        required=True,
        metavar="FILE",
        help="JSONL (every text in a row is read, whatever its field), .parquet, other text; or a set's name",
    )
    parser.add_argument("--problems", nargs="+", required=True, metavar="SET", help="as for sweep")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N problems of each set")
    parser.add_argument("--n", type=int, default=NGRAM, metavar="N", help=f"words of an n-gram ({NGRAM})")
    parser.add_argument(
        "--share",
        type=float,
        default=SHARE,
        metavar="S",
        help=f"a problem is contaminated when this share of its n-grams is found ({SHARE})",
    )
    parser.add_argument(
        "--examples", type=int, default=5, metavar="N", help="problems of each set to show (5)"
    )
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the whole result as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check, print and write."""
    from evals.contamination import check, in_words
    from evals.problems import load

    try:
        problems = load(options.problems, limit=options.limit)
        result = check(problems, options.train, n=options.n, share=options.share)
        if options.out is not None:
            options.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except (ValueError, OSError) as error:
        return fail(str(error), WRONG_USAGE)
    print(json.dumps(result, ensure_ascii=False) if options.json else in_words(result, options.examples))
    return FAILED if any(summary["contaminated"] for summary in result["sets"]) else 0
