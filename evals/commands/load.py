"""`thinkdial eval load`: latency, accuracy and goodput under more load than a server can carry."""

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evals.commands.command import FAILED, INTERRUPTED, WRONG_USAGE, fail

if TYPE_CHECKING:
    from evals.load.run import Arm, LoadSettings, Serve

_EXAMPLE = """example:
  thinkdial eval load --model ./my-model --problems thinkmath --limit 200 --families --out runs/load
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "load",
        help="load a server beyond its capacity, with and without load shedding",
        description="Measure a server's capacity, load it with multiples of that, and do the same to one "
        "with load shedding (thinkdial serve --latency-target): latency to the last token, accuracy, right "
        "replies in time. Both are started here, one after the other, unless they are named. Run the same "
        "command again to resume.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    asked = parser.add_argument_group("what is asked")
    asked.add_argument(
        "--problems", required=True, nargs="+", metavar="SET", help="as of thinkdial eval sweep"
    )
    asked.add_argument("--limit", type=int, metavar="N", help="the first N problems of each set")
    asked.add_argument("--prompt", metavar="P", help="as of thinkdial eval sweep")
    asked.add_argument(
        "--families", action="store_true", help="requests name their kind of problem, if the profile knows it"
    )
    asked.add_argument("--sampling", default="greedy", metavar="PRESET", help="as of sweep (greedy)")
    asked.add_argument("--max-tokens", type=int, metavar="N", help="most tokens of a reply")
    asked.add_argument("--seed", type=int, default=0, help="of arrivals and sampling (0)")
    how = parser.add_argument_group("how much")
    how.add_argument(
        "--loads", type=_loads, default=(1.0, 2.0, 4.0), metavar="X,Y", help="multiples of 1x (1,2,4)"
    )
    how.add_argument("--seconds", type=float, default=30.0, metavar="S", help="of arrivals at each load (30)")
    how.add_argument(
        "--concurrency",
        type=int,
        default=64,
        metavar="N",
        help="requests in flight while the capacity is measured (64)",
    )
    how.add_argument(
        "--utilisation",
        type=float,
        default=0.7,
        metavar="SHARE",
        help="of the capacity's replies a second that is 1x (0.7)",
    )
    how.add_argument(
        "--latency-target",
        type=float,
        metavar="S",
        help="in seconds (default: twice the 95th percentile at the first load without shedding)",
    )
    how.add_argument("--out", type=Path, required=True, metavar="DIR", help="run directory")
    who = parser.add_argument_group("who is asked")
    who.add_argument("--model", help="checkpoint to serve (the shipped model)")
    who.add_argument("--profile", type=Path, metavar="FILE", help="its thinking profile, if not beside it")
    who.add_argument(
        "--max-num-seqs",
        type=int,
        metavar="N",
        help="requests that its engine runs at once (vLLM's default); with a small model, few make thinking "
        "what the load waits for, as it is with a large one",
    )
    who.add_argument(
        "--base-url", metavar="URL", help="a running server without shedding, in place of --model"
    )
    who.add_argument(
        "--shedding-url",
        metavar="URL",
        help="with --base-url: a running server of the same model that sheds load for --latency-target",
    )
    who.add_argument("--api-key-env", metavar="NAME", help="environment variable with the servers' key")
    parser.set_defaults(run=run)


def _loads(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(item) for item in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is wrong; give numbers such as 1,2,4") from None


def run(options: argparse.Namespace) -> int:
    """Measure what the directory lacks, and write its report."""
    import httpx

    from evals.commands.sweep import api_key
    from evals.load.report import FILES, terminal, write_load_report
    from evals.load.run import run_load_test

    again = shlex.join(["thinkdial", "eval", *options.arguments])
    try:
        key = api_key(options.api_key_env)
        run_load_test(_settings(options), *_servers(options, key), key)
        summary = write_load_report(options.out)
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    except (RuntimeError, OSError, httpx.HTTPError) as error:
        reason = str(error) or type(error).__name__
        return fail(f"{reason}\nloads that ended are stored; resume with: {again}", FAILED)
    except KeyboardInterrupt:
        print(f"\ninterrupted; loads that ended are stored. Resume with:\n  {again}", file=sys.stderr)
        return INTERRUPTED
    print(terminal(summary))
    print()
    for name in FILES:
        print(options.out / name)
    return 0


def _settings(options: argparse.Namespace) -> "LoadSettings":
    from evals.load.run import LoadSettings
    from evals.sweep.presets import sampling

    return LoadSettings(
        out=options.out,
        problems=tuple(options.problems),
        limit=options.limit,
        prompt=options.prompt,
        loads=options.loads,
        seconds=options.seconds,
        utilisation=options.utilisation,
        concurrency=options.concurrency,
        max_num_seqs=options.max_num_seqs,
        latency_target=options.latency_target,
        families=options.families,
        sampling=sampling(options.sampling),
        max_tokens=options.max_tokens,
        seed=options.seed,
    )


def _servers(options: argparse.Namespace, key: str | None) -> "tuple[str, Serve]":
    """The served name, and what gives a server of each arm. Raises ValueError for flags that do not fit."""
    from clients.wire import api_root
    from evals.load.run import served_model
    from serve import DEFAULT_MODEL_NAME
    from serve.launch import start_server

    if (options.base_url is None) != (options.shedding_url is None):
        raise ValueError("base_url: give --base-url and --shedding-url, or neither; two servers are compared")
    if options.base_url is not None:
        if options.max_num_seqs is not None:
            raise ValueError("max_num_seqs: --base-url runs already; start its server with --max-num-seqs")
        if options.latency_target is None:
            raise ValueError("latency_target: none given; give the one that --shedding-url was started with")
        urls = {"plain": api_root(options.base_url), "shedding": api_root(options.shedding_url)}

        @contextmanager
        def running(arm: "Arm", target: float | None) -> Iterator[str]:
            yield urls[arm]

        return served_model(urls["plain"], key), running

    flags = [] if options.profile is None else ["--profile", str(options.profile)]
    if options.max_num_seqs is not None:
        flags += ["--max-num-seqs", str(options.max_num_seqs)]

    @contextmanager
    def started(arm: "Arm", target: float | None) -> Iterator[str]:
        print(f"starting the server {arm} ...", file=sys.stderr)
        shedding = [] if target is None else ["--latency-target", str(target)]
        log = options.out / f"server-{arm}.log"
        with start_server(options.model, args=[*flags, *shedding], log_path=log) as server:
            yield server.base_url

    return options.model or DEFAULT_MODEL_NAME, started
