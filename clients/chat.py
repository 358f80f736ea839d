"""`thinkdial chat`: a terminal chat with a thinking dial."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx

from clients.answer_now import AnswerNow
from clients.client import Client
from clients.display import CutMarker, Part, Screen, status_line
from clients.types import APIError, ChatOptions, EntropyDelta, Event, Finished, Reply, Started, ThinkingDelta

HELP = """\
/budget N     at most N thinking tokens a reply; 0 turns thinking off
/budget off   no limit on thinking
/think        thinking on, for the messages that follow
/no_think     thinking off until /think
/clear        forget the conversation
/help         this list
/quit         leave (or Ctrl-D)
Ctrl-C        while the model thinks: answer now; once more, or else: stop the reply"""
_COMMANDS = "/budget N, /budget off, /think, /no_think, /clear, /help, /quit"


@dataclass(slots=True)
class Dial:
    """What is asked of the next replies. budget: tokens, -1 no limit, None the server's default.

    thinking: True and False are asked of the chat template, None leaves it to the server.
    """

    budget: int | None = None
    thinking: bool | None = None

    def set_budget(self, word: str) -> str:
        """Set from "off" or a number; returns what to tell the user. ValueError says what is right."""
        if word in ("off", "-1"):
            self.budget = -1
        elif word.isascii() and word.isdecimal():
            if int(word) == 0:
                self.thinking = False
                return self.describe()
            self.budget = int(word)
        else:
            raise ValueError(
                f"budget is {word!r}; it must be a number of tokens (0 or more) or off: /budget 64"
            )
        return self.describe() + (" until /think" if self.thinking is False else "")

    def describe(self) -> str:
        """The dial in a few words, used as the prompt too."""
        if self.thinking is False:
            return "thinking off"
        return {None: "thinking on", -1: "no limit"}.get(self.budget, f"budget {self.budget}")

    def options(self) -> ChatOptions:
        return {"budget": None if self.thinking is False else self.budget, "enable_thinking": self.thinking}


@dataclass(slots=True)
class Session:
    """One conversation: its dial, its history (answers only, no thinking) and where it prints."""

    client: Client
    screen: Screen
    dial: Dial
    sampling: ChatOptions
    stop_text: str
    history: list[dict[str, str]] = field(default_factory=list)

    def ask(self, text: str, watch: Callable[[Event], None] | None = None) -> None:
        """Stream the reply to one message and add both to the history, which an error leaves as it was.

        watch: is shown each event of the stream.
        """
        question = {"role": "user", "content": text}
        started = time.monotonic()
        marker = CutMarker(self.stop_text)
        reply: Reply | None = None
        for event in self.client.stream([*self.history, question], **(self.sampling | self.dial.options())):
            if watch is not None:
                watch(event)
            if isinstance(event, Started | EntropyDelta):
                continue
            if isinstance(event, ThinkingDelta):
                self.screen.write(Part.THINKING, marker.feed(event.text))
                continue
            rest, cut = marker.end()
            self.screen.write(Part.THINKING, rest)
            self.screen.write(Part.CUT, cut)
            if isinstance(event, Finished):
                reply = event.reply
            else:
                self.screen.write(Part.ANSWER, event.text)
        assert reply is not None, "a stream that ends without raising has yielded Finished"
        self.screen.write(Part.STATUS, status_line(reply, time.monotonic() - started))
        self.screen.end_line()
        self.history += [question, {"role": "assistant", "content": reply.answer.strip()}]

    def command(self, line: str) -> str:
        """Run an in-chat command and return what to tell the user. ValueError: bad input; EOFError: leave."""
        name, *arguments = line.split()
        if name == "/budget":
            if len(arguments) != 1:
                raise ValueError("/budget takes one value: /budget 64, /budget 0 or /budget off")
            return self.dial.set_budget(arguments[0])
        actions: dict[str, Callable[[], str]] = {
            "/think": self._think,
            "/no_think": self._no_think,
            "/clear": self._clear,
            "/help": lambda: HELP,
            "/quit": self._quit,
        }
        if name not in actions:
            raise ValueError(f"unknown command {name}; the commands are {_COMMANDS}")
        if arguments:
            raise ValueError(f"{name} takes no value, but got {' '.join(arguments)!r}")
        return actions[name]()

    def _think(self) -> str:
        self.dial.thinking = True
        return self.dial.describe()

    def _no_think(self) -> str:
        self.dial.thinking = False
        return self.dial.describe() + " until /think"

    def _clear(self) -> str:
        self.history.clear()
        return "conversation forgotten"

    def _quit(self) -> str:
        raise EOFError


def explain(error: Exception, base_url: str) -> str:
    """One line for the user about a failed request."""
    if isinstance(error, httpx.ConnectError):
        return f"no server at {base_url}; start one with: thinkdial serve"
    if isinstance(error, httpx.TimeoutException):
        return f"the server at {base_url} did not answer in time"
    if isinstance(error, httpx.TransportError):
        return f"the connection to {base_url} broke: {error}"
    return str(error)


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="thinkdial chat",
        description="Chat with a server in the terminal. If the input is a pipe, all of it is one message; "
        "the answer goes to standard output, thinking and the status line to standard error.",
        epilog="In the chat:\n" + HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base-url", default="http://127.0.0.1:8000", help="server, default %(default)s")
    parser.add_argument(
        "--budget", metavar="N", help="most thinking tokens a reply, 0: thinking off, off: no limit"
    )
    parser.add_argument("--no-think", action="store_true", help="start with thinking off")
    parser.add_argument("--model", help="served model name, default: the server's first")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="most tokens a reply, thinking included")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="sampling temperature, default: the model's"
    )
    parser.add_argument(
        "--api-key", default=os.environ.get("THINKDIAL_API_KEY"), help="default: $THINKDIAL_API_KEY, if set"
    )
    args = parser.parse_args(argv)
    args.dial = Dial(thinking=False if args.no_think else None)
    try:
        if args.budget is not None:
            args.dial.set_budget(args.budget)
    except ValueError as error:
        parser.error(str(error))
    return args


def early_stop_text(client: Client) -> str:
    """The early-stop text up to the close tag; "" from servers that do not tell it."""
    try:
        thinking_format = client.thinking_format()
    except APIError:
        return ""
    return thinking_format.stop_text.partition(thinking_format.close)[0]


def run_piped(session: Session, base_url: str) -> int:
    """Standard input is one message; print its reply."""
    text = sys.stdin.read().strip()
    if not text:
        print("thinkdial chat: standard input is empty; write a message into it", file=sys.stderr)
        return 2
    try:
        session.ask(text)
    except (APIError, httpx.TransportError) as error:
        session.screen.end_line()
        print(f"thinkdial chat: {explain(error, base_url)}", file=sys.stderr)
        return 1
    return 0


def run_interactive(session: Session, base_url: str) -> int:
    """Prompt, answer, repeat, until /quit or Ctrl-D."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    words = [line.split()[0] for line in HELP.splitlines() if line.startswith("/")]
    prompt: PromptSession[str] = PromptSession(
        completer=WordCompleter(sorted(set(words)), sentence=True), complete_while_typing=False
    )
    while True:
        try:
            print()
            line = prompt.prompt(f"{session.dial.describe()} > ").strip()
            if line.startswith("/"):
                print(session.command(line))
            elif line:
                with AnswerNow(session.client) as ctrl_c:
                    session.ask(line, ctrl_c.watch)
        except KeyboardInterrupt:
            session.screen.end_line()
            print("(stopped; Ctrl-D leaves)")
        except EOFError:
            return 0
        except ValueError as error:
            print(error)
        except (APIError, httpx.TransportError) as error:
            session.screen.end_line()
            print(explain(error, base_url))


def main(argv: Sequence[str]) -> int:
    """Chat until the user leaves, or answer a pipe once. Status 1: the server failed, 2: wrong usage."""
    args = parse_args(argv)
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    notes = sys.stdout if interactive else sys.stderr
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
        }
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        styled = notes.isatty() and not plain
        session = Session(client, Screen(sys.stdout, notes, styled=styled), args.dial, sampling, stop_text)
        if not interactive:
            return run_piped(session, args.base_url)
        print(f"{model} at {args.base_url}. /help lists the commands, Ctrl-D leaves.")
        return run_interactive(session, args.base_url)
