"""The chat on a terminal: a prompt with a line history, a live gauge, and what is typed meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from clients.terminal.answer_now import AnswerNow
from clients.terminal.commands import COMMANDS, Commands
from clients.terminal.explain import explain
from clients.terminal.gauge import Gauge
from clients.terminal.session import Session
from clients.terminal.type_ahead import TypeAhead
from clients.types import APIError, Event

HINT = "/now or Ctrl-C: answer now"


def open_history(path: Path | None) -> History:
    """The line history in a file that only its user may read. None, or a file that cannot be, keeps none."""
    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        print(f"typed lines are not kept: {path}: {error.strerror}")
        return InMemoryHistory()
    return FileHistory(path)


class Interactive:
    """A session on a terminal. styled: the terminal may be drawn on."""

    def __init__(self, session: Session, base_url: str, history: Path | None, *, styled: bool) -> None:
        self._session = session
        self._commands = Commands(session)
        self._base_url = base_url
        self._styled = styled
        self._typed: list[str] = []
        self._line = ""
        self._left = False
        words = [command.name for command in COMMANDS]
        self._prompt: PromptSession[str] = PromptSession(
            history=open_history(history),
            completer=WordCompleter(sorted(set(words)), sentence=True),
            complete_while_typing=False,
        )

    def run(self) -> int:
        """Prompt, answer, repeat, until /quit or Ctrl-D."""
        session = self._session
        while True:
            try:
                print()
                line = self._next().strip()
                if line.startswith("/"):
                    print(self._commands.run(line))
                elif line:
                    self._ask(line)
            except KeyboardInterrupt:
                session.screen.end_line()
                print("(stopped; Ctrl-D leaves)")
            except EOFError:
                return 0
            except ValueError as error:
                print(error)
            except (APIError, httpx.TransportError) as error:
                session.screen.end_line()
                print(explain(error, self._base_url))

    def _next(self) -> str:
        """The next line: one that was typed while the last reply streamed, or a new one."""
        prompt = f"{self._session.dial.describe()} > "
        if self._typed:
            line = self._typed.pop(0)
            print(prompt + line)
            self._prompt.history.append_string(line)
            return line
        if self._left:
            raise EOFError
        line, self._line = self._line, ""
        return self._prompt.prompt(prompt, default=line)

    def _ask(self, text: str) -> None:
        screen = self._session.screen
        gauge = Gauge(self._session.dial, HINT)

        def show(typed: str) -> None:
            if self._styled:
                screen.footer("  ".join(part for part in (gauge.line(), typed) if part))

        with AnswerNow(self._session.client) as answer_now:

            def watch(event: Event) -> None:
                answer_now.watch(event)
                gauge.watch(event)
                show(ahead.line)

            ahead = TypeAhead(sys.stdin.fileno(), answer_now.now, show, echo=not self._styled)
            try:
                with ahead:
                    self._session.ask(text, watch)
            finally:
                screen.footer("")
                self._typed += ahead.lines
                self._line, self._left = ahead.line, ahead.left
