"""Our flags of `thinkdial serve`, and what each may be. Every other flag is vLLM's."""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

from serve.budget import RequestError, ThinkingBudget, with_members
from serve.profile import PROFILE

EPILOG = """MODEL is a folder or a hub name and comes first; without it the shipped model is served.
Every flag of vLLM's server may follow (--help=all lists them), e.g. --tensor-parallel-size 2.
Unless given: --host 127.0.0.1, --scheduling-policy priority, --shutdown-timeout 25,
VLLM_MAX_N_SEQUENCES=1024 (choices of a request); on CPU also --enforce-eager,
--block-size 32, VLLM_CPU_KVCACHE_SPACE=1 (GiB), and on up to four cores one
OpenMP thread. Telemetry of vLLM and of the Hugging Face hub is off."""

MAX_REQUEST_BYTES = 32 * 2**20
"""As much as Anthropic's Messages API takes."""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thinkdial serve",
        usage="thinkdial serve [MODEL] [flags]",
        description="Serve a reasoning model behind an OpenAI-compatible API with exact thinking budgets.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument(
        "-h", "--help", nargs="?", const="ours", choices=["ours", "all"], help="this, or with =all vLLM's"
    )
    parser.add_argument(
        "--describe",
        action="store_true",
        help="print how MODEL writes its thinking and what is inserted at a cut, and end",
    )
    _thinking_flags(parser.add_argument_group("thinking"))
    _access_flags(parser.add_argument_group("access"))
    _load_flags(parser.add_argument_group("load"))
    _operation_flags(parser.add_argument_group("operation"))
    return parser


def _thinking_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--default-thinking-budget",
        type=_at_least(0, "a number of tokens, 0 for no thinking"),
        metavar="N",
        help="budget of requests that name none (default: no limit)",
    )
    group.add_argument(
        "--default-thinking",
        type=_thinking,
        default=ThinkingBudget(),
        metavar="JSON",
        help="members of `thinking` for requests that do not name them, e.g. '{\"deadline\": 30}'",
    )
    profile = group.add_mutually_exclusive_group()
    profile.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="thinking profile of MODEL, from which effort levels get their budgets "
        f"(default: {PROFILE} in its folder, if there is one)",
    )
    profile.add_argument(
        "--no-profile", action="store_true", help="serve without: effort levels are shares of max_tokens"
    )
    group.add_argument(
        "--thinking-stop-text", metavar="TEXT", help="inserted when thinking is cut; holds the closing tag"
    )
    group.add_argument("--thinking-open", metavar="TAG", help="opening tag of the model's thinking")
    group.add_argument("--thinking-close", metavar="TAG", help="closing tag of the model's thinking")


def _access_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help="JSON or TOML list `keys` of {name, key or sha256, max_budget, default_thinking, "
        "max_concurrent_requests}; keys may also come by vLLM's --api-key, or else VLLM_API_KEY and "
        "THINKDIAL_API_KEYS. With any key, every route but /health and the page at / needs one",
    )
    group.add_argument(
        "--max-request-bytes",
        type=_at_least(1, "a number of bytes"),
        default=MAX_REQUEST_BYTES,
        metavar="N",
        help="longest request body; a longer one is refused with 413 (default: %(default)s)",
    )


def _load_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--latency-target",
        type=_target,
        metavar="SECONDS",
        help="under more load than that allows, lower budgets so that 95 of 100 replies are complete within "
        "so long of their arrival; needs the model's thinking profile (default: nothing is lowered)",
    )
    group.add_argument(
        "--shedding-floor",
        type=_floor,
        default=0,
        metavar="N|ACCURACY",
        help="with --latency-target: lower no budget below N tokens, or, as 0.8, below the budget of this "
        "expected accuracy (default: %(default)s)",
    )


def _operation_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--log-format",
        choices=["text", "json"],
        default="text",
        help="json: all logs as JSON, and for each HTTP request one line with times, tokens and stop causes "
        "(no user text, no keys) in place of the access log (default: %(default)s)",
    )
    group.add_argument(
        "--weight-updates",
        type=Path,
        metavar="FOLDER",
        help="for training: POST /v1/weights {path, version} loads a checkpoint of this folder; if there are "
        "API keys, only for those with may_update_weights (default: no such route)",
    )


def _at_least(least: int, what: str) -> Callable[[str], int]:
    def check(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is wrong; it must be {what}, and at least {least}")
        return value

    return check


def _target(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is wrong; it must be a number of seconds above 0")
    return value


def _floor(text: str) -> int | float:
    try:
        value = float(text) if "." in text else int(text)
    except ValueError:
        value = -1
    if value < 0 or (isinstance(value, float) and value > 1):
        raise argparse.ArgumentTypeError(
            f"{text!r} is wrong; it must be a whole number of tokens, or an accuracy between 0.0 and 1.0"
        )
    return value


def _thinking(text: str) -> ThinkingBudget:
    try:
        return with_members(ThinkingBudget(), json.loads(text))
    except (RequestError, ValueError, AttributeError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a JSON object of thinking members: {error}"
        ) from None
