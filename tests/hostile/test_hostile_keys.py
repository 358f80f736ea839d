"""API keys go to the server they are for, and nowhere else: no file, no message, no other host."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from clients import APIError, Client
from clients.wire import api_root, auth_headers
from evals.cli import main as eval_main
from evals.load.run import served_model
from evals.sweep.presets import PRESETS
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings
from tests.evals.scripted_api import ScriptedAPI
from trainer.rollouts.servers import ServersBackend

KEY = "sk-0123456789-secret"


@contextmanager
def answering(status: int, headers: dict[str, str], body: str) -> Iterator[tuple[str, list[str | None]]]:
    """A server that answers everything so: its address, and the Authorization headers that it got."""
    got: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            got.append(self.headers["authorization"])
            self.rfile.read(int(self.headers["content-length"] or 0))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with (
        answering(200, {}, "{}") as (elsewhere, there),
        answering(status, {"location": f"{elsewhere}/v1/models"}, "") as (url, here),
    ):
        with Client(url, api_key=KEY) as client, pytest.raises(APIError) as error:
            client.models()
        assert error.value.status == status
        with Client(url, api_key=KEY) as client, pytest.raises(APIError):
            client.chat("x", model="m")
        with pytest.raises(Exception, match=str(status)):
            served_model(url, KEY)
        assert set(here) == {f"Bearer {KEY}"}
        assert there == []


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\r\nx-other: 1", f"{KEY} {KEY}", f"{KEY}é", f"{KEY}\0"])
def test_what_no_header_can_hold_is_refused_and_not_told(
    key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="api_key") as error:
        Client("http://127.0.0.1:1", api_key=key)
    assert "secret" not in str(error.value)
    if "\0" in key:
        return  # no environment variable can hold it either
    monkeypatch.setenv("OPENAI_API_KEY", key)
    sweep = ["sweep", "--problems", "thinkmath", "--budgets", "0", "--base-url", "http://127.0.0.1:1"]
    assert eval_main([*sweep, "--out", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert "api_key" in told.err
    assert "secret" not in told.out + told.err


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{KEY}@127.0.0.1:1",
        f"https://{KEY}@127.0.0.1/v1",
        f"http://127.0.0.1:1/v1?key={KEY}",
        f"http://127.0.0.1:1/#{KEY}",
    ],
)
def test_addresses_hold_no_secrets(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are noted with every reply."""
    with pytest.raises(ValueError, match="base_url holds") as error:
        api_root(url)
    assert KEY not in str(error.value)
    sweep = ["sweep", "--problems", "thinkmath", "--budgets", "0", "--base-url", url]
    assert eval_main([*sweep, "--out", str(tmp_path / "run")]) == 2
    assert KEY not in capsys.readouterr().err
    with pytest.raises(ValueError, match="base_url holds"):
        ServersBackend([url], tmp_path, tmp_path)


def test_a_server_that_repeats_the_key() -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}", "code": 401}})
    for text in (body, f"no such key: {KEY}"):
        with (
            answering(401, {}, text) as (url, _),
            Client(url, api_key=KEY) as client,
            pytest.raises(APIError, match="the API key") as error,
        ):
            client.chat("x", model="m")
        assert KEY not in repr(error.value) + str(error.value)


def test_no_file_of_a_sweep_has_the_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = SweepSettings(
        "thinkmath",
        tmp_path / "run",
        (0, 64),
        mode="direct",
        dialect="vllm",
        sampling=PRESETS["server"],
        limit=2,
    )
    with ScriptedAPI() as api:
        run_sweep(settings, api.base_url, None, KEY)
        assert set(api.keys) == {f"Bearer {KEY}"}
    assert eval_main(["report", str(tmp_path / "run")]) == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path
    told = capfd.readouterr()
    assert KEY not in told.out + told.err


def test_a_usual_key_is_a_header() -> None:
    assert auth_headers(KEY) == {"authorization": f"Bearer {KEY}"}
    assert auth_headers(None) == auth_headers("") == {}
