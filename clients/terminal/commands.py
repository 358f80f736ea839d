"""The commands of the terminal chat: what they do to a conversation and its dial, and their help."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clients.terminal.session import Session

KEYS = "Ctrl-C        while the model thinks: answer now; once more, or else: stop the reply"
NAME_WIDTH = 14


@dataclass(frozen=True, slots=True)
class Command:
    """usage: as the help shows it, the name first. does: its line there.

    run: gets what stands behind the name, "" for nothing, and returns what to tell the user. Raises
    ValueError, which says what is right, or EOFError to leave.
    """

    usage: str
    does: str
    run: Callable[[Commands, str], str]

    @property
    def name(self) -> str:
        return self.usage.split()[0]


class Commands:
    """The commands of one session. Its dial and system message at the start are what /reset goes back to."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._dial = replace(session.dial)
        self._system = session.system

    def run(self, line: str) -> str:
        """Run a line that begins with a slash; see `Command.run`."""
        name, _, rest = line.strip().partition(" ")
        if name not in _BY_NAME:
            known = ", ".join(command.usage for command in COMMANDS)
            near = difflib.get_close_matches(name, _BY_NAME, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"unknown command {name}; the commands are {known}{hint}")
        return _BY_NAME[name].run(self, rest.strip())

    def budget(self, value: str) -> str:
        return self.session.dial.set_budget(_one("/budget", value, "/budget 64, /budget 0 or /budget off"))

    def effort(self, value: str) -> str:
        return self.session.dial.set_effort(_one("/effort", value, "/effort low or /effort off"))

    def deadline(self, value: str) -> str:
        return self.session.dial.set_deadline(_one("/deadline", value, "/deadline 3s or /deadline off"))

    def think(self, value: str) -> str:
        _none("/think", value)
        self.session.dial.thinking = True
        return self.session.dial.told()

    def no_think(self, value: str) -> str:
        _none("/no_think", value)
        self.session.dial.thinking = False
        return self.session.dial.told()

    def now(self, value: str) -> str:
        _none("/now", value)
        raise ValueError("no reply is thinking; type /now, or Ctrl-C, while one does")

    def system(self, value: str) -> str:
        if not value:
            return f"system message: {self.session.system}" if self.session.system else "no system message"
        self.session.system = "" if value == "off" else value
        return "no system message" if value == "off" else "system message set; it holds from here on"

    def history(self, value: str) -> str:
        _none("/history", value)
        told = [f"{turn['role']}: {turn['content']}" for turn in self.session.history]
        return "\n".join(told) or "nothing has been said"

    def save(self, value: str) -> str:
        if not value:
            raise ValueError("/save takes a file name: /save chat.json or /save chat.md")
        path = Path(value).expanduser()
        if path.suffix not in (".json", ".md"):
            raise ValueError(f"file is {value!r}; its name must end in .json or .md: /save chat.json")
        text = _as_json(self.session) if path.suffix == ".json" else _as_markdown(self.session)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise ValueError(f"{path} is there already; give another name") from None
        except OSError as error:
            raise ValueError(f"{path} cannot be written: {error.strerror}") from None
        return f"{len(self.session.turns)} turns saved in {path}"

    def clear(self, value: str) -> str:
        _none("/clear", value)
        self.session.turns.clear()
        return "conversation forgotten"

    def reset(self, value: str) -> str:
        _none("/reset", value)
        self.session.turns.clear()
        self.session.dial = replace(self._dial)
        self.session.system = self._system
        return f"as at the start: {self.session.dial.describe()}"

    def help(self, value: str) -> str:
        _none("/help", value)
        return HELP

    def quit(self, value: str) -> str:
        _none("/quit", value)
        raise EOFError


def _one(name: str, value: str, examples: str) -> str:
    if len(value.split()) != 1:
        raise ValueError(f"{name} takes one value: {examples}")
    return value


def _none(name: str, value: str) -> None:
    if value:
        raise ValueError(f"{name} takes no value, but got {value!r}")


def _as_json(session: Session) -> str:
    turns = [turn.as_dict() for turn in session.turns]
    document = {"system": session.system or None, "turns": turns}
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _as_markdown(session: Session) -> str:
    parts = [f"**system**: {session.system}"] if session.system else []
    for turn in session.turns:
        thinking = turn.reply.thinking.strip()
        quoted = "\n".join(f"> {line}" for line in thinking.splitlines())
        parts += [f"**user**: {turn.question}", *([quoted] if thinking else [])]
        parts.append(f"**assistant**: {turn.reply.answer.strip()}")
    return "\n\n".join(parts) + "\n"


COMMANDS: Sequence[Command] = (
    Command("/budget N", "at most N thinking tokens a reply; 0 turns thinking off", Commands.budget),
    Command("/budget off", "no limit on thinking", Commands.budget),
    Command("/effort low", "none, minimal, low, medium, high, xhigh, max or off", Commands.effort),
    Command("/deadline 3s", "the whole reply within so long; off for none", Commands.deadline),
    Command("/think", "thinking on, for the messages that follow", Commands.think),
    Command("/no_think", "thinking off until /think", Commands.no_think),
    Command("/now", "while the model thinks: answer now", Commands.now),
    Command("/system TEXT", "the system message; off for none, nothing to see it", Commands.system),
    Command("/history", "what has been said", Commands.history),
    Command("/save FILE", "write the conversation, with its thinking, to a .json or .md file", Commands.save),
    Command("/clear", "forget the conversation", Commands.clear),
    Command("/reset", "as at the start: no conversation, dial and system message too", Commands.reset),
    Command("/help", "this list", Commands.help),
    Command("/quit", "leave (or Ctrl-D)", Commands.quit),
)
_BY_NAME = {command.name: command for command in COMMANDS}
HELP = "\n".join([*(f"{command.usage:<{NAME_WIDTH}}{command.does}" for command in COMMANDS), KEYS])
