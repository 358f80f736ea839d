"""`thinkdial eval sweep`: draw the replies of a budget curve, then report."""

import argparse
import shlex
import sys
from pathlib import Path

from evals.budgets import Budget, parse_budgets
from evals.commands.command import FAILED, INTERRUPTED, WRONG_USAGE, fail
from evals.commands.report import write


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "sweep",
        help="draw the replies of a budget curve, then report",
        description="Draw the replies of a budget curve into a run directory, then write its report. "
        "Run the same command again to resume; add budgets, samples or problems the same way.",
    )
    parser.add_argument(
        "--problems", required=True, help="thinkmath, or a JSONL file of {id, problem, answer}"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N problems")
    parser.add_argument(
        "--budgets",
        type=_budgets,
        required=True,
        help="thinking tokens, comma-separated; 0: thinking off, max: no limit",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="run directory")
    parser.add_argument(
        "--samples", type=int, default=1, metavar="N", help="replies a problem and budget (1)"
    )
    parser.add_argument(
        "--mode",
        choices=("forked", "direct"),
        default="forked",
        help="forked: cut one trace at every budget (default); direct: ask the server for each budget",
    )
    parser.add_argument("--base-url", metavar="URL", help="a running server; without it one is started")
    parser.add_argument("--model", help="with --base-url the served name, without it the checkpoint to serve")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (default)")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="nucleus sampling (1: off)")
    parser.add_argument("--top-k", type=int, default=0, metavar="K", help="most likely tokens kept (0: off)")
    parser.add_argument(
        "--max-tokens", type=int, metavar="N", help="most tokens of a reply (what the context holds)"
    )
    parser.add_argument("--concurrency", type=int, default=16, metavar="N", help="requests in flight (16)")
    parser.add_argument("--seed", type=int, default=0, help="of sampling (0)")
    parser.set_defaults(run=run)


def _budgets(text: str) -> list[Budget]:
    try:
        return parse_budgets(text)
    except ValueError as error:
        # argparse shows the message of this exception only.
        raise argparse.ArgumentTypeError(str(error)) from error


def run(options: argparse.Namespace) -> int:
    """Draw what the run directory lacks, and write its report."""
    # Imported here: `--help` must not wait for httpx and matplotlib.
    import httpx

    from clients import APIError
    from evals.settings import SweepSettings
    from evals.sweep import run_sweep

    again = shlex.join(["thinkdial", "eval", *options.arguments])
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
        return fail(str(error), WRONG_USAGE)
    except RuntimeError as error:
        return fail(str(error), FAILED)
    except (APIError, httpx.HTTPError) as error:
        reason = str(error) or type(error).__name__
        return fail(f"the server failed: {reason}\nwhat was drawn is stored; resume with: {again}", FAILED)
    except KeyboardInterrupt:
        print(f"\ninterrupted; what was drawn is stored. Resume with:\n  {again}", file=sys.stderr)
        return INTERRUPTED
    return write(settings.out, failed=bool(result.failures))
