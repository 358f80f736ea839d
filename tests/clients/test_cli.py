"""The `thinkdial` command: help, version, dispatch, and what it says when something is missing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from clients import cli

HEAVY = {"torch", "vllm", "transformers", "numpy", "httpx", "prompt_toolkit", "serve", "evals", "trainer"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clients.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_command(option: str) -> None:
    done = run(option)
    assert done.returncode == 0
    assert done.stderr == ""
    assert all(f"\n  {name} " in done.stdout for name in ("serve", "chat", "eval", "train"))


def test_version() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("thinkdial ")


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option: str) -> None:
    script = (
        "import sys; from clients.cli import main; main(sys.argv[1:]);"
        f"found = {HEAVY} & set(sys.modules); sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script, option], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_client_imports_no_engine() -> None:
    script = "import sys; from clients import Client; assert not {'torch', 'vllm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_unknown_command() -> None:
    done = run("surve")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "thinkdial: unknown command 'surve'; it must be one of serve, chat, eval, train\n"


def test_no_command_shows_the_usage() -> None:
    done = run()
    assert done.returncode == 2
    assert done.stderr.startswith("usage: thinkdial COMMAND")


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_its_room(name: str) -> None:
    assert importlib.util.find_spec(cli.COMMANDS[name].module) is not None


def test_arguments_and_status_pass_through() -> None:
    done = run("chat", "--budget", "many")
    assert done.returncode == 2
    assert "budget is 'many'; it must be a number of tokens (0 or more) or off" in done.stderr


def test_a_missing_extra_is_named() -> None:
    """In an interpreter without site-packages every third-party package is missing."""
    done = subprocess.run([sys.executable, "-S", "-m", "clients.cli", "chat"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "thinkdial chat needs the Python package 'httpx': pip install thinkdial\n"


@pytest.mark.parametrize(
    ("name", "install"),
    [
        ("serve", 'pip install "thinkdial[cpu]" or pip install "thinkdial[cuda]"'),
        ("eval", 'pip install "thinkdial[evals]"'),
        ("train", 'pip install "thinkdial[trainer]"'),
    ],
)
def test_each_room_names_its_extra(name: str, install: str) -> None:
    error = ModuleNotFoundError("No module named 'x.y'", name="x.y")
    assert cli.explain_missing(name, error) == f"thinkdial {name} needs the Python package 'x': {install}"
