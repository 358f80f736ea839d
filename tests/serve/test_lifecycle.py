"""A server of its own: our flags, start-up failures, and a clean end on SIGTERM."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from serve import cli
from serve.launch import start_server

STOP_TEXT = "Time is up.\n</think>\n\n"


def processes_of(session: int) -> list[int]:
    """Living processes of a session, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, _, owner = text.rsplit(")", 1)[1].split()[:4]
        if int(owner) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.timeout(400)
def test_flags_and_sigterm() -> None:
    flags = [
        "--default-thinking-budget",
        "3",
        "--thinking-stop-text",
        STOP_TEXT,
        "--served-model-name",
        "dial",
    ]
    with start_server(args=flags) as server:
        assert server.model == "dial"
        form = httpx.get(f"{server.base_url}/v1/thinking/format").json()
        assert (form["model"], form["default_budget"], form["stop_text"]) == ("dial", 3, STOP_TEXT)
        body = {"messages": [{"role": "user", "content": "1"}], "temperature": 0, "max_tokens": 64}
        url = f"{server.base_url}/v1/chat/completions"
        (choice,) = httpx.post(url, json=body, timeout=60).json()["choices"]
        assert choice["thinking"]["budget"] == 3
        (choice,) = httpx.post(url, json={**body, "thinking_budget": -1}, timeout=60).json()["choices"]
        assert choice["thinking"]["budget"] is None

        # In the middle of a reply.
        endless = {"messages": body["messages"], "stream": True, "ignore_eos": True}
        with httpx.stream("POST", url, json=endless, timeout=60) as reply:
            next(reply.iter_bytes())
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) == 0
        deadline = time.monotonic() + 5
        while processes_of(server.process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert processes_of(server.process.pid) == []


def test_a_server_ends_with_the_process_that_started_it() -> None:
    """Also when that is killed, and even before the server is up: no orphan keeps memory and port."""
    parent = subprocess.Popen([sys.executable, "-c", "from serve.launch import start_server; start_server()"])
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + 60
    while not (found := children.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.05)
    (server,) = map(int, found)
    time.sleep(1)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while processes_of(server) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(server) == []


@pytest.mark.timeout(200)
def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="unrecognized arguments: --no-such-flag"):
        start_server(args=["--no-such-flag"])


def test_help_is_ours_and_quick(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "--default-thinking-budget" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--block-size=64", "--block_size 64"])
def test_the_users_flags_win(flag: str) -> None:
    arguments = cli.vllm_arguments("model", flag.split(), cpu=True)
    assert "32" not in arguments
    assert arguments[-len(flag.split()) :] == flag.split()


def test_defaults_on_cpu() -> None:
    arguments = cli.vllm_arguments("model", [], cpu=True)
    assert "--enforce-eager" in arguments
    assert "--enforce-eager" not in cli.vllm_arguments("model", [], cpu=False)
    assert "--enforce-eager" not in cli.vllm_arguments("model", ["--no-enforce-eager"], cpu=True)
