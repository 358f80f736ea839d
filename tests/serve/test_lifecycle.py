"""Servers of their own: our flags, start-up failures, a drained end on SIGTERM, an engine that dies."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve import cli
from serve.launch import RunningServer, start_server

CLIENTS = 16
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


def gone(session: int, seconds: float) -> bool:
    """Whether no process of the session is left within so many seconds."""
    deadline = time.monotonic() + seconds
    while processes_of(session) and time.monotonic() < deadline:
        time.sleep(0.1)
    return processes_of(session) == []


def chat(server: RunningServer, **body: Any) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": "1"}], "temperature": 0, **body}
    return httpx.post(f"{server.base_url}/v1/chat/completions", json=body, timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_flags_and_drain() -> None:
    """SIGTERM in the middle of replies, one of which is cut only after it: they end as they would have."""
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
        # The very first request is as short as can be: on processors with AMX it ends vLLM's own CPU worker.
        short = {"prompt": [1], "max_tokens": 1}
        assert httpx.post(f"{server.base_url}/v1/completions", json=short, timeout=60).status_code == 200
        form = httpx.get(f"{server.base_url}/v1/thinking/format").json()
        assert (form["model"], form["default_budget"], form["stop_text"]) == ("dial", 3, STOP_TEXT)
        (choice,) = chat(server, max_tokens=64).json()["choices"]
        assert choice["thinking"]["budget"] == 3
        (choice,) = chat(server, max_tokens=64, thinking_budget=-1).json()["choices"]
        assert choice["thinking"]["budget"] is None

        body = {
            "messages": [{"role": "user", "content": "Modulo 10, compute ((3*7)+5)-9."}],
            "stream": True,
            "max_tokens": 1000,
            "thinking_budget": 400,
            "ignore_eos": True,
            "logit_bias": {str(form["close_id"]): -100},
        }
        url = f"{server.base_url}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, timeout=60) as reply:
            lines = reply.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 5
            while (refused := chat(server, max_tokens=1)).status_code != 503:
                assert time.monotonic() < deadline
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["code"] == 503
            assert httpx.get(f"{server.base_url}/health").status_code == 503
            assert "thinkdial_rejected" in httpx.get(f"{server.base_url}/metrics").text
            events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        (last,) = [choice for event in events for choice in event["choices"] if choice["finish_reason"]]
        assert last["finish_reason"] == "length"
        assert last["thinking"]["tokens"] == 400
        assert server.process.wait(20) == 0
        assert gone(server.process.pid, 5)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_engine_is_killed_under_load() -> None:
    """Every client hears of it within 5 seconds, whether it streams or waits, and the server ends."""
    endless = {"messages": [{"role": "user", "content": "1"}], "ignore_eos": True}
    heard: list[float] = []
    reading = threading.Barrier(CLIENTS + 1)

    def client(number: int) -> None:
        stream, budget = number % 2 == 0, [None, 5, 1500][number % 3]
        body = {**endless, "stream": stream, "thinking_budget": budget}
        url = f"{server.base_url}/v1/chat/completions"
        with httpx.Client(timeout=60) as http:
            if not stream:
                reading.wait(30)
                reply = http.post(url, json=body)
                assert reply.status_code in (500, 503), reply.text
                assert reply.json()["error"]["message"]
            else:
                with http.stream("POST", url, json=body) as streamed:
                    lines = streamed.iter_lines()
                    next(lines)
                    reading.wait(30)
                    events = [line[6:] for line in lines if line.startswith("data: ")]
                errors = [event for event in events if event.startswith('{"error"')]
                assert json.loads(errors[-1])["error"]["code"] in (500, 503)
                assert events[-1] == "[DONE]"
        heard.append(time.monotonic())

    with start_server() as server, ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, number) for number in range(CLIENTS)]
        reading.wait(30)
        time.sleep(0.2)
        os.kill(engine_of(server.process.pid), signal.SIGKILL)
        killed = time.monotonic()
        for one in clients:
            one.result(30)
        assert max(heard) - killed < 5
        assert server.process.wait(10) != 0
        assert gone(server.process.pid, 5)


def engine_of(server: int) -> int:
    """The engine's process: the server's child that says so in its title."""
    children = Path(f"/proc/{server}/task").glob("*/children")
    pids = [int(pid) for path in children for pid in path.read_text().split()]
    (engine,) = [pid for pid in pids if "EngineCore" in Path(f"/proc/{pid}/cmdline").read_text()]
    return engine


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(ValueError, match="unrecognized arguments: --no-such-flag"):
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
