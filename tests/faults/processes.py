"""The processes of a server under test, found in /proc, and requests that do not end by themselves."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.serve.routes import APIS

ENDLESS = {"ignore_eos": True, "temperature": 0}
QUESTION = "Modulo 10, compute ((3*7)+5)-9."
PATIENCE = 60.0
"""Seconds after which what is waited for has failed: far more than a busy machine needs."""


def children_of(pid: int) -> list[int]:
    """Living children of a process, of all its threads."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]


def title_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()


def engines_of(server: int) -> list[int]:
    """The engine processes of a server, by rank."""
    found = [pid for pid in children_of(server) if "EngineCore" in title_of(pid)]
    return sorted(found, key=title_of)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"after {PATIENCE} s: {what}"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def endless(api: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """Path and body of a streamed request to an API that goes on to the end of the context."""
    return APIS[api].path, APIS[api].body(QUESTION, True, 1900, ignore_eos=True, min_tokens=1900, **more)


def metric(base_url: str, name: str) -> float:
    """A metric's value, summed over its labels."""
    text = httpx.get(f"{base_url}/metrics", timeout=30).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + "{"))
