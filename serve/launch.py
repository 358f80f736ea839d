"""Start `thinkdial serve` as a child process, wait until it is healthy, and stop it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import httpx

from serve.cli import ERROR, WRONG_USAGE
from serve.processes import end_with_parent

HOST = "127.0.0.1"
DRAIN_SECONDS = 10.0
STOP_SECONDS = 10.0
LOG_TAIL_LINES = 40


@dataclass
class RunningServer:
    """A server that runs as a child process; a context manager that stops it.

    base_url: without "/v1". model: the name it is served under.
    """

    base_url: str
    model: str
    process: subprocess.Popen[bytes]
    log_path: Path

    def stop(self) -> None:
        """End the server: SIGTERM lets its requests finish, a second one does not, and SIGKILL ends all."""
        for seconds in (DRAIN_SECONDS, STOP_SECONDS):
            if self.process.poll() is not None:
                return
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def __enter__(self) -> "RunningServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_server(
    model: str | None = None,
    *,
    port: int = 0,
    args: Sequence[str] = (),
    api_key: str | None = None,
    log_path: Path | None = None,
    timeout: float = 300,
) -> RunningServer:
    """Start `thinkdial serve` and wait until it is healthy.

    model: folder or hub name; None is the shipped model. port: 0 picks a free one. args: further flags.
    api_key: one of the server's keys, if it has any; to ask for its model's name.
    log_path: where the server's output goes; None is a new temporary file. timeout: seconds to wait.
    Raises ValueError if it cannot be started so, as for a checkpoint that is not whole, and RuntimeError with
    the log's tail if it ends in another way or is not healthy in time.
    """
    port = port or free_port()
    command = [
        sys.executable,
        "-m",
        "serve.cli",
        *([model] if model else []),
        "--host",
        HOST,
        "--port",
        str(port),
        *args,
    ]
    return start_process(command, port, api_key=api_key, log_path=log_path, timeout=timeout)


def start_process(
    command: Sequence[str],
    port: int,
    *,
    environment: Mapping[str, str] | None = None,
    api_key: str | None = None,
    log_path: Path | None = None,
    timeout: float = 300,
) -> RunningServer:
    """Start an OpenAI-compatible server that will listen on `port` and wait until it is healthy.

    environment: variables added to this process's. For the rest see `start_server`.
    """
    if log_path is None:
        handle, name = tempfile.mkstemp(prefix="thinkdial-serve-", suffix=".log")
        os.close(handle)
        log_path = Path(name)
    root = str(Path(__file__).parent.parent)
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    with log_path.open("wb") as log:
        # A session of its own: a Ctrl-C at the terminal reaches the parent only, which then calls stop().
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,
            env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        )
    server = RunningServer(f"http://{HOST}:{port}", "", process, log_path)
    try:
        server.model = _wait(server, api_key, timeout)
    except BaseException:
        server.stop()
        raise
    return server


def _wait(server: RunningServer, api_key: str | None, timeout: float) -> str:
    """The name of the served model, once the server answers."""
    headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            _, told, reason = _log(server.log_path).rpartition(ERROR)
            if server.process.returncode == WRONG_USAGE and told:
                raise ValueError(reason.strip())
            raise RuntimeError(
                f"the server ended with exit code {server.process.returncode}\n{_tail(server.log_path)}"
            )
        try:
            if httpx.get(f"{server.base_url}/health", timeout=5).status_code == httpx.codes.OK:
                models = httpx.get(f"{server.base_url}/v1/models", headers=headers, timeout=30)
                return models.raise_for_status().json()["data"][0]["id"]
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.1)
    raise RuntimeError(f"the server was not healthy within {timeout} s\n{_tail(server.log_path)}")


def _tail(path: Path) -> str:
    return "\n".join(_log(path).splitlines()[-LOG_TAIL_LINES:])


def _log(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
