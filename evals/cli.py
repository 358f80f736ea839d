"""`thinkdial eval`: run budget sweeps and write their reports."""

import argparse
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from evals.budgets import Budget, parse_budgets

_DESCRIPTION = "Measure accuracy against thinking budget."
_EXAMPLE = """example:
  thinkdial eval sweep --problems thinkmath --limit 400 --budgets 0,8,16,32,64,max --out runs/curve
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `thinkdial eval ARGV`; returns 0, 1 (it failed), 2 (wrong usage) or 130 (interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    with _termination_interrupts():
        return _sweep(options, arguments) if options.command == "sweep" else _report(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thinkdial eval",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    sweep = commands.add_parser(
        "sweep",
        help="draw the replies of a budget curve, then report",
        description="Draw the replies of a budget curve into a run directory, then write its report. "
        "Run the same command again to resume; add budgets, samples or problems the same way.",
    )
    sweep.add_argument(
        "--problems", required=True, help="thinkmath, or a JSONL file of {id, problem, answer}"
    )
    sweep.add_argument("--limit", type=int, metavar="N", help="the first N problems")
    sweep.add_argument(
        "--budgets",
        type=_budgets,
        required=True,
        help="thinking tokens, comma-separated; 0: thinking off, max: no limit",
    )
    sweep.add_argument("--out", type=Path, required=True, metavar="DIR", help="run directory")
    sweep.add_argument("--samples", type=int, default=1, metavar="N", help="replies a problem and budget (1)")
    sweep.add_argument(
        "--mode",
        choices=("forked", "direct"),
        default="forked",
        help="forked: cut one trace at every budget (default); direct: ask the server for each budget",
    )
    sweep.add_argument("--base-url", metavar="URL", help="a running server; without it one is started")
    sweep.add_argument("--model", help="with --base-url the served name, without it the checkpoint to serve")
    sweep.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (default)")
    sweep.add_argument("--top-p", type=float, default=1.0, metavar="P", help="nucleus sampling (1: off)")
    sweep.add_argument("--top-k", type=int, default=0, metavar="K", help="most likely tokens kept (0: off)")
    sweep.add_argument(
        "--max-tokens", type=int, metavar="N", help="most tokens of a reply (what the context holds)"
    )
    sweep.add_argument("--concurrency", type=int, default=16, metavar="N", help="requests in flight (16)")
    sweep.add_argument("--seed", type=int, default=0, help="of sampling (0)")
    report = commands.add_parser(
        "report",
        help="recompute a run's report from its store",
        description="Recompute summary.json, curve.png and report.html from the store of a run.",
    )
    report.add_argument("directory", type=Path, metavar="DIR", help="run directory")
    return parser


def _budgets(text: str) -> list[Budget]:
    try:
        return parse_budgets(text)
    except ValueError as error:
        # argparse shows the message of this exception only.
        raise argparse.ArgumentTypeError(str(error)) from error


def _sweep(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    # Imported here: `--help` must not wait for httpx and matplotlib.
    import httpx

    from clients import APIError
    from evals.settings import SweepSettings
    from evals.sweep import run_sweep

    again = shlex.join(["thinkdial", "eval", *arguments])
    try:
        settings = SweepSettings(
            problems=options.problems,
            out=options.out,
            budgets=tuple(options.budgets),
            limit=options.limit,
            samples=options.samples,
            mode=options.mode,
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            max_tokens=options.max_tokens,
            seed=options.seed,
            concurrency=options.concurrency,
        )
        if options.base_url is None:
            from serve.launch import start_server

            print("starting the server ...", file=sys.stderr)
            with start_server(options.model) as server:
                result = run_sweep(settings, server.base_url, server.model)
        else:
            result = run_sweep(settings, options.base_url, options.model)
    except ValueError as error:
        return _fail(str(error), 2)
    except RuntimeError as error:
        return _fail(str(error), 1)
    except (APIError, httpx.HTTPError) as error:
        reason = str(error) or type(error).__name__
        return _fail(f"the server failed: {reason}\nwhat was drawn is stored; resume with: {again}", 1)
    except KeyboardInterrupt:
        print(f"\ninterrupted; what was drawn is stored. Resume with:\n  {again}", file=sys.stderr)
        return 130
    return _write(settings.out, failed=bool(result.failures))


def _report(options: argparse.Namespace) -> int:
    try:
        return _write(options.directory, failed=False)
    except ValueError as error:
        return _fail(str(error), 2)


def _write(directory: Path, failed: bool) -> int:
    from evals.report import PAGE, PLOT, terminal, write_report
    from evals.summary import SUMMARY

    summary = write_report(directory)
    print(terminal(summary))
    for name in (SUMMARY, PLOT, PAGE):
        print(directory / name)
    return 1 if failed else 0


def _fail(message: str, status: int) -> int:
    print(f"thinkdial eval: {message}", file=sys.stderr)
    return status


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
