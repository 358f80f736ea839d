"""The `thinkdial` command: hands its arguments to one room, imported only then."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple


class Command(NamedTuple):
    """module: has `main(argv) -> int`; extras: the ones to install for it; summary: its line in --help."""

    module: str
    extras: tuple[str, ...]
    summary: str


COMMANDS = {
    "serve": Command("serve.cli", ("cpu", "cuda"), "start the server: vLLM with thinking budgets"),
    "chat": Command("clients.terminal.main", (), "talk to a server in the terminal"),
    "eval": Command("evals.cli", ("evals",), "measure budget curves"),
    "train": Command("trainer.cli", ("trainer",), "run a training recipe"),
}
_ROOMS = {command.module.partition(".")[0] for command in COMMANDS.values()}

HELP = "\n".join(
    [
        "usage: thinkdial COMMAND [ARGUMENTS]",
        "       thinkdial COMMAND --help",
        "       thinkdial --version",
        "",
        "commands:",
        *(f"  {name:<7}{command.summary}" for name, command in COMMANDS.items()),
    ]
)


def explain_missing(name: str, error: ModuleNotFoundError) -> str:
    """What to tell the user of a command whose third-party package is not installed."""
    missing = (error.name or str(error)).partition(".")[0]
    extras = COMMANDS[name].extras
    installs = [f'pip install "thinkdial[{extra}]"' for extra in extras] or ["pip install thinkdial"]
    return f"thinkdial {name} needs the Python package {missing!r}: {' or '.join(installs)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its status (1: a package is missing, 2: wrong usage, 130: interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        print(HELP, file=sys.stderr)
        return 2
    name, *rest = arguments
    if name in ("-h", "--help"):
        print(HELP)
        return 0
    if name == "--version":
        print(f"thinkdial {version('thinkdial')}")
        return 0
    if name not in COMMANDS:
        print(
            f"thinkdial: unknown command {name!r}; it must be one of {', '.join(COMMANDS)}", file=sys.stderr
        )
        return 2
    try:
        status: int = importlib.import_module(COMMANDS[name].module).main(rest)
        return status
    except ModuleNotFoundError as error:
        # A module of our own that is missing is a bug, not an extra that is not installed.
        if (error.name or "").partition(".")[0] in _ROOMS:
            raise
        print(explain_missing(name, error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
