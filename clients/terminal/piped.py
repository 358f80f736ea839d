"""The chat without a terminal: messages from standard input, replies to standard output."""

from __future__ import annotations

import json
import sys

import httpx

from clients.terminal.commands import Commands
from clients.terminal.explain import explain
from clients.terminal.gauge import Gauge
from clients.terminal.session import Session, reply_dict
from clients.types import APIError, Event


def run_piped(session: Session, base_url: str, *, as_json: bool, lines: bool) -> int:
    """Answer standard input: as one message, or line by line in one conversation, commands among them.

    as_json: an object for each reply on standard output, and nothing else. Returns the exit status: 1 if the
    server failed, 2 for an input that is wrong. The first failure ends it.
    """
    source = (line.strip() for line in sys.stdin) if lines else iter([sys.stdin.read().strip()])
    commands = Commands(session)
    asked = False
    for text in source:
        if not text:
            continue
        try:
            if lines and text.startswith("/"):
                print(commands.run(text), file=sys.stderr)
                continue
            asked = True
            _ask(session, text, as_json)
        except EOFError:  # /quit
            return 0
        except ValueError as error:
            print(f"thinkdial chat: {error}", file=sys.stderr)
            return 2
        except (APIError, httpx.TransportError) as error:
            session.screen.end_line()
            print(f"thinkdial chat: {explain(error, base_url)}", file=sys.stderr)
            return 1
    if not asked:
        print("thinkdial chat: standard input is empty; write a message into it", file=sys.stderr)
        return 2
    return 0


def _ask(session: Session, text: str, as_json: bool) -> None:
    gauge = Gauge(session.dial)

    def watch(event: Event) -> None:
        gauge.watch(event)
        session.screen.footer(gauge.line())

    reply = session.ask(text, watch)
    if as_json:
        print(json.dumps(reply_dict(reply), ensure_ascii=False), flush=True)
