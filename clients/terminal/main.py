"""`thinkdial chat`: its flags, and which way it runs."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from clients.client import Client
from clients.terminal.commands import HELP
from clients.terminal.dial import Dial
from clients.terminal.display import Screen
from clients.terminal.explain import explain
from clients.terminal.piped import run_piped
from clients.terminal.session import COUNTED, Session
from clients.types import APIError, ChatOptions


def history_file() -> Path:
    """Where typed lines are kept: below $XDG_STATE_HOME, as the XDG Base Directory Specification says."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "thinkdial" / "chat_history"


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="thinkdial chat",
        description="Chat with a server in the terminal. If the input is a pipe, all of it is one message; "
        "the answer goes to standard output, thinking and the status line to standard error.",
        epilog="In the chat:\n"
        + HELP
        + "\n\nExit status: 0, 1 if the server failed, 2 for wrong usage, 130 for Ctrl-C in a pipe.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base-url", default="http://127.0.0.1:8000", help="server, default %(default)s")
    parser.add_argument(
        "--budget", metavar="N", help="most thinking tokens a reply, 0: thinking off, off: no limit"
    )
    parser.add_argument(
        "--effort", metavar="LEVEL", help="a level in place of a budget: low, medium, high ..."
    )
    parser.add_argument("--deadline", metavar="TIME", help="the whole reply within so long: 3s, 500ms, 1m")
    parser.add_argument(
        "--thinking",
        metavar="JSON",
        type=_thinking,
        default={},
        help="further members of the server's `thinking`, for all replies: '{\"soft\": 16}'",
    )
    parser.add_argument("--no-think", action="store_true", help="start with thinking off")
    parser.add_argument("--system", metavar="TEXT", default="", help="the system message, default: none")
    parser.add_argument("--model", help="served model name, default: the server's first")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="most tokens a reply, thinking included")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="sampling temperature, default: the model's"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the sampling, default: none")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object a reply: answer, thinking, report, usage, finish_reason, model",
    )
    parser.add_argument(
        "--lines",
        action="store_true",
        help="each line of the input is a message or a command, in one conversation",
    )
    parser.add_argument(
        "--history",
        metavar="FILE",
        help=f"file that keeps the typed lines, off: none, default: {history_file()}",
    )
    parser.add_argument(
        "--api-key", default=os.environ.get("THINKDIAL_API_KEY"), help="default: $THINKDIAL_API_KEY, if set"
    )
    args = parser.parse_args(argv)
    args.dial = Dial(thinking=False if args.no_think else None, members=args.thinking)
    if args.budget is not None and args.effort is not None:
        parser.error("--budget and --effort are both given; a level stands in for a budget, so give one")
    settings = {"budget": args.dial.set_budget, "effort": args.dial.set_effort}
    for name, set_value in {**settings, "deadline": args.dial.set_deadline}.items():
        if (value := getattr(args, name)) is not None:
            try:
                set_value(value)
            except ValueError as error:
                parser.error(str(error))
    return args


def _thinking(text: str) -> dict[str, Any]:
    try:
        members = json.loads(text)
    except ValueError:
        members = None
    if not isinstance(members, dict) or set(members) & {"budget", "effort", "deadline"}:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a JSON object; budget, effort and deadline have flags of their own"
        )
    return members


def early_stop_text(client: Client) -> str:
    """The early-stop text up to the close tag; "" from servers that do not tell it."""
    try:
        thinking_format = client.thinking_format()
    except APIError:
        return ""
    return thinking_format.stop_text.partition(thinking_format.close)[0]


def main(argv: Sequence[str]) -> int:
    """Chat until the user leaves, or answer a pipe. Status 1: the server failed, 2: wrong usage."""
    args = parse_args(argv)
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and not (args.json or args.lines)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if not interactive:
        # As other filters do: end quietly when the reader of the pipe has gone.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        client = Client(args.base_url, api_key=args.api_key)
    except ValueError as error:
        print(f"thinkdial chat: {error}", file=sys.stderr)
        return 2
    with client:
        try:
            model = args.model or client.models()[0]
            stop_text = early_stop_text(client)
        except (APIError, httpx.TransportError) as error:
            print(f"thinkdial chat: {explain(error, args.base_url)}", file=sys.stderr)
            return 1
        sampling: ChatOptions = {
            "model": model,
            "max_tokens": args.max_tokens,
            "temperature": args.temperature,
            "seed": args.seed,
        }
        notes = sys.stdout if interactive else sys.stderr
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        styled = notes.isatty() and not plain
        if styled and stop_text:
            sampling |= COUNTED
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            # The objects are all that a program wants; who looks on is shown the reply as it comes.
            if args.json:
                notes = notes if notes.isatty() else nowhere
            screen = Screen(notes if args.json else sys.stdout, notes, styled=styled)
            session = Session(client, screen, args.dial, sampling, stop_text, args.system)
            if not interactive:
                return run_piped(session, args.base_url, as_json=args.json, lines=args.lines)
            from clients.terminal.interactive import Interactive  # takes a while, and pipes need it not

            print(f"{model} at {args.base_url}. /help lists the commands, Ctrl-D leaves.")
            history = None if args.history == "off" else Path(args.history or history_file()).expanduser()
            return Interactive(session, args.base_url, history, styled=styled).run()
