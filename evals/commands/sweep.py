"""`thinkdial eval sweep`: draw the replies of a budget curve, then report."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from evals.budgets import Budget, parse_budgets
from evals.commands.command import FAILED, INTERRUPTED, WRONG_USAGE, fail, on_server
from evals.commands.report import write

if TYPE_CHECKING:
    from evals.sweep.run import SweepResult
    from evals.sweep.settings import Logprobs, SweepSettings

DEFAULT_KEY = "OPENAI_API_KEY"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "sweep",
        help="draw the replies of a budget curve, then report",
        description="Draw the replies of a budget curve into a run directory, then write its report. "
        "Run the same command again to resume; add budgets, samples or, by a higher --limit, problems the "
        "same way.",
    )
    _add_asked(parser)
    add_curve(parser)
    add_server(parser)
    add_sampling(parser)
    _add_adaptive(parser)
    add_account(parser)
    _add_estimate(parser)
    parser.set_defaults(run=run)


def _add_asked(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is asked")
    group.add_argument(
        "--problems",
        required=True,
        nargs="+",
        metavar="SET",
        help="NAME, FILE.jsonl, or either[level=1-3,...]; see thinkdial eval problems",
    )
    group.add_argument("--limit", type=int, metavar="N", help="the first N problems of each set")
    group.add_argument(
        "--prompt", metavar="P", help="a preset, a text with {problem}, or a file with one (each set's own)"
    )


def add_curve(parser: argparse.ArgumentParser, samples: str = "1") -> None:
    """Declare the points of a curve, and what is stored of each. samples: in words, if none are asked."""
    group = parser.add_argument_group("what is drawn")
    group.add_argument(
        "--budgets",
        type=_budgets,
        required=True,
        help="comma-separated: thinking tokens (0: thinking off, max: no limit); shares of each trace's "
        "natural length (0,25%%,50%%,max); effort levels; or off,on",
    )
    group.add_argument("--out", type=Path, required=True, metavar="DIR", help="run directory")
    group.add_argument(
        "--reuse",
        type=Path,
        metavar="DIR",
        help="copy uncut traces and replies without thinking from a run of the same model and settings",
    )
    group.add_argument(
        "--samples", type=int, default=1, metavar="N", help=f"replies a problem and budget ({samples})"
    )
    group.add_argument(
        "--mode",
        choices=("forked", "direct"),
        default="forked",
        help="forked: cut one trace at every budget (default); direct: ask the server for each budget",
    )
    group.add_argument(
        "--crosscheck",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="with --mode forked: draw a random share of the points directly too (0: none)",
    )
    group.add_argument(
        "--ask-confidence", action="store_true", help="after each reply ask how sure the model is of it"
    )
    group.add_argument(
        "--logprobs",
        default="auto",
        metavar="off|0|K",
        help="store the log probability of each token, and of K alternatives as entropy (0 on our servers, "
        "else off)",
    )


def add_server(parser: argparse.ArgumentParser) -> None:
    """Declare which server answers."""
    group = parser.add_argument_group("who is asked")
    group.add_argument(
        "--base-url",
        action="append",
        metavar="URL",
        help="a running server; several share the work; without it one is started",
    )
    group.add_argument("--model", help="with --base-url the served name, without it the checkpoint to serve")
    group.add_argument(
        "--dialect",
        default="auto",
        metavar="NAME",
        help="how budgets are asked for: auto (default), thinkdial, vllm, sglang, llamacpp, openai, "
        "openrouter, dashscope",
    )
    group.add_argument(
        "--api-key-env",
        metavar="NAME",
        help=f"environment variable with the server's key ({DEFAULT_KEY}, if it is set)",
    )
    group.add_argument("--concurrency", type=int, default=16, metavar="N", help="requests in flight (16)")
    group.add_argument(
        "--retries", type=int, default=5, metavar="N", help="further attempts at a request that failed (5)"
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Declare how replies are sampled."""
    group = parser.add_argument_group("how replies are sampled")
    group.add_argument(
        "--sampling",
        default="qwen3",
        metavar="PRESET",
        help="qwen3 (the Qwen3 report's values, default), greedy, qwq, deepseek-r1, or server (its defaults)",
    )
    group.add_argument("--temperature", type=float, metavar="T", help="in place of the preset's; 0 is greedy")
    group.add_argument("--top-p", type=float, metavar="P", help="in place of the preset's; 1: off")
    group.add_argument("--top-k", type=int, metavar="K", help="in place of the preset's; 0: off")
    group.add_argument("--presence-penalty", type=float, metavar="X", help="in place of the preset's; 0: off")
    group.add_argument(
        "--max-tokens", type=int, metavar="N", help="most tokens of a reply (what the context holds)"
    )
    group.add_argument("--seed", type=int, default=0, help="of sampling (0)")


def add_account(parser: argparse.ArgumentParser) -> None:
    """Declare what tokens cost."""
    group = parser.add_argument_group("what it costs")
    group.add_argument("--price-in", type=float, metavar="USD", help="of a million prompt tokens")
    group.add_argument("--price-out", type=float, metavar="USD", help="of a million generated tokens")


def _add_estimate(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what it would cost")
    group.add_argument(
        "--dry-run", action="store_true", help="say what would be asked and cost; ask for no completion"
    )
    group.add_argument(
        "--expect-thinking", type=int, metavar="N", help="with --dry-run: thinking tokens of a reply, uncut"
    )
    group.add_argument(
        "--expect-answer",
        type=int,
        default=100,
        metavar="N",
        help="with --dry-run: tokens of an answer (100)",
    )


def _add_adaptive(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("when it is enough")
    group.add_argument(
        "--until-width",
        type=float,
        metavar="W",
        help="double problems, then samples, until every 95 %% interval is narrower than W (e.g. 0.05); "
        "--limit and --samples are the first round's",
    )
    group.add_argument(
        "--max-samples", type=int, default=16, metavar="K", help="with --until-width: of each problem (16)"
    )
    group.add_argument(
        "--max-problems", type=int, metavar="N", help="with --until-width: of each set (all it holds)"
    )


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
    from evals.adaptive import Adaptive, run_adaptive
    from evals.sweep.run import SweepResult, run_sweep

    again = shlex.join(["thinkdial", "eval", *options.arguments])
    try:
        settings = sweep_settings(options)
        key = api_key(options.api_key_env)
        adaptive = None
        if options.until_width is not None:
            adaptive = Adaptive(options.until_width, options.max_samples, options.max_problems)
        if options.dry_run:
            print(_dry_run(options, settings, key))
            return 0

        def draw(base_urls: list[str], model: str | None) -> SweepResult:
            if adaptive is None:
                return run_sweep(settings, base_urls, model, key)
            return run_adaptive(settings, adaptive, base_urls, model, key)

        result = on_server(options, draw)
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    except RuntimeError as error:
        return fail(str(error), FAILED)
    except OSError as error:
        return fail(f"{error}\nwhat was drawn is stored; resume with: {again}", FAILED)
    except (APIError, httpx.HTTPError) as error:
        reason = str(error) or type(error).__name__
        return fail(f"the server failed: {reason}\nwhat was drawn is stored; resume with: {again}", FAILED)
    except KeyboardInterrupt:
        print(f"\ninterrupted; what was drawn is stored. Resume with:\n  {again}", file=sys.stderr)
        return INTERRUPTED
    _print_account(result)
    return write(settings.out, failed=bool(result.failures))


def sweep_settings(options: argparse.Namespace) -> "SweepSettings":
    """The settings of the command line. Raises ValueError naming the one that is wrong."""
    from evals.account import Prices
    from evals.sweep.presets import sampling
    from evals.sweep.settings import SweepSettings

    prices = None
    if options.price_in is not None or options.price_out is not None:
        prices = Prices(options.price_in or 0.0, options.price_out or 0.0)
    return SweepSettings(
        problems=tuple(options.problems),
        out=options.out,
        budgets=tuple(options.budgets),
        limit=options.limit,
        prompt=options.prompt,
        samples=options.samples,
        mode=options.mode,
        sampling=sampling(
            options.sampling,
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            presence_penalty=options.presence_penalty,
        ),
        max_tokens=options.max_tokens,
        seed=options.seed,
        concurrency=options.concurrency,
        dialect=options.dialect,
        logprobs=_logprobs(options.logprobs),
        confidence=options.ask_confidence,
        crosscheck=options.crosscheck,
        retries=options.retries,
        prices=prices,
        reuse=options.reuse,
    )


def _dry_run(options: argparse.Namespace, settings: "SweepSettings", key: str | None) -> str:
    """What would be asked; at most, for a run that goes on until it is enough."""
    from dataclasses import replace

    from evals.sweep.dry_run import dry_run
    from evals.sweep.estimate import Lengths

    if options.until_width is not None:
        samples = settings.samples if settings.sampling.greedy else options.max_samples
        settings = replace(settings, limit=options.max_problems, samples=samples)
    given = None
    if options.expect_thinking is not None:
        given = Lengths([options.expect_thinking], options.expect_answer, "as given")
    base_url = options.base_url[0] if options.base_url else None
    return dry_run(settings, base_url, options.model, key, given)


def _logprobs(text: str) -> "Logprobs":
    if text == "auto":
        return "auto"
    if text == "off":
        return "off"
    if not text.isascii() or not text.isdecimal():
        raise ValueError(
            f"logprobs: {text!r} is not a number of alternatives; give off, 0 or a number up to 20"
        )
    return int(text)


def api_key(name: str | None) -> str | None:
    """The key in the environment variable `name`, or the usual one. ValueError if not set, or no key."""
    from clients.wire import auth_headers

    if name is not None and not os.environ.get(name):
        raise ValueError(f"api_key_env: {name!r} is not set; put the server's key into that variable")
    key = os.environ.get(name or DEFAULT_KEY)
    auth_headers(key)
    return key


def _print_account(result: "SweepResult") -> None:
    account = result.account
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in account["generated_tokens"].items())
    line = (
        f"account: {account['prompt_tokens']:,} prompt tokens, "
        f"{account['all_generated_tokens']:,} generated ({kinds}), {account['wall_seconds']:.1f} s"
    )
    if account["tokens_per_second"] is not None:
        line += f", {account['tokens_per_second']:.0f} generated tokens/s"
    if account["cost"] is not None:
        line += f", {account['cost']['total']:.4f} {account['cost']['currency']}"
    print(line, file=sys.stderr)
    if result.over_budget:
        print(
            f"{result.over_budget} of {result.replies} replies thought longer than their budget; see asked "
            "against used in the report",
            file=sys.stderr,
        )
