"""`thinkdial eval steps`: measure the step times of a server, for `thinkdial eval simulate`."""

import argparse
from pathlib import Path

from evals.commands.command import FAILED, fail

_EXAMPLE = """example, beside a server that nobody else uses:
  thinkdial eval steps --base-url http://127.0.0.1:8000 --out steps.json
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "steps",
        help="measure a server's step times, for simulate",
        description="Send bursts of requests to a running thinkdial serve, read off its metrics what it did "
        "for them, and write both: the step times that thinkdial eval simulate plans with.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base-url", required=True, metavar="URL", help="the server, without /v1")
    parser.add_argument("--sizes", type=_sizes, default=(1, 4, 16, 64), metavar="N,M", help="(1,4,16,64)")
    parser.add_argument("--long", type=int, default=80, metavar="N", help="equations of long prompts (80)")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="of all bursts (2)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write")
    parser.set_defaults(run=run)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(item) for item in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is wrong; give numbers of requests at once, e.g. 1,4,16,64"
        )
    return sizes


def run(options: argparse.Namespace) -> int:
    """Measure, write, and print what a fit makes of it."""
    import httpx

    from evals.simulate.measure import measure_steps
    from evals.simulate.report import prices

    try:
        measured = measure_steps(options.base_url.rstrip("/"), options.sizes, options.long, options.rounds)
        print(prices(measured))
        measured.write(options.out)
    except (RuntimeError, OSError, ValueError, httpx.HTTPError) as error:
        return fail(str(error) or type(error).__name__, FAILED)
    print(options.out)
    return 0
