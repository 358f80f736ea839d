"""Sweeps against the real server: forked equals direct, and a sweep can be killed and resumed."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from evals.budgets import Budget
from evals.cli import main
from evals.problems import load
from evals.records import Record
from evals.store import SAMPLES, StoreBusyError, read_manifest, read_records
from evals.summary.outcomes import Outcome, outcomes
from evals.summary.replies import read_run
from evals.summary.summarise import summarise
from evals.sweep.presets import GREEDY, sampling
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings
from serve.launch import RunningServer

BUDGETS: tuple[Budget, ...] = (0, 1, 2, 7, 16, 40, "max")
MAX_TOKENS = 220
HOT = sampling("qwen3", temperature=2.0, top_p=1.0, top_k=0)


@pytest.fixture(scope="module")
def forked(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> SweepSettings:
    """A finished forked sweep."""
    out = tmp_path_factory.mktemp("runs") / "forked"
    settings = SweepSettings("thinkmath", out, BUDGETS, limit=10, sampling=GREEDY, max_tokens=MAX_TOKENS)
    run_sweep(settings, server.base_url)
    return settings


@pytest.fixture(scope="module")
def direct(server: RunningServer, forked: SweepSettings) -> SweepSettings:
    """The same in direct mode."""
    settings = replace(forked, mode="direct", out=forked.out.with_name("direct"))
    run_sweep(settings, server.base_url)
    return settings


def records(settings: SweepSettings) -> dict[str, Record]:
    found, failures = read_records(settings.out)
    assert not failures
    return found


def graded(settings: SweepSettings) -> dict[tuple[str, Budget], Outcome]:
    """Outcomes without what differs between two runs: keys, places in the file, digits of probabilities."""
    return {
        (o.problem, o.budget): replace(o, key="", offset=0, answer_probability=None)
        for o in outcomes(read_run(settings.out))
    }


def stored_keys(directory: Path) -> list[str]:
    """Keys line by line, as they are in the file."""
    lines = (directory / SAMPLES).read_bytes().splitlines(keepends=True)
    return [json.loads(line)["key"] for line in lines if line.endswith(b"\n")]


def test_forked_and_direct_agree_token_for_token(forked: SweepSettings, direct: SweepSettings) -> None:
    drawn = records(forked)
    stop_ids = read_manifest(forked.out)["settings"]["thinking_format"]["stop_ids"]
    forks = {(r.problem, r.budget): r for r in drawn.values() if r.kind == "fork"}
    traces = {r.problem: r for r in drawn.values() if r.kind == "trace"}
    off = {r.problem: r for r in drawn.values() if r.kind == "no_think"}
    compared = 0
    for record in records(direct).values():
        fork = forks.get((record.problem, record.budget))
        if record.budget == 0:
            expected = off[record.problem].token_ids
        elif fork is None:
            expected = traces[record.problem].token_ids
        else:
            kept = (traces[record.problem].token_ids or [])[: fork.cut]
            expected = kept + (stop_ids if fork.inserted_tokens else []) + (fork.token_ids or [])
            compared += 1
        assert record.token_ids == expected, (record.problem, record.budget)
    assert compared >= 10
    assert len(records(direct)) == 10 * len(BUDGETS)


def test_forked_and_direct_outcomes_agree(forked: SweepSettings, direct: SweepSettings) -> None:
    assert graded(forked) == graded(direct)
    costs = [summarise(settings.out)["totals"]["all_generated_tokens"] for settings in (forked, direct)]
    assert costs[0] < costs[1]


def generated_by(server: RunningServer) -> float:
    """Tokens that the server has decoded since it started."""
    text = httpx.get(f"{server.base_url}/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("vllm:generation_tokens_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_no_thinking_token_is_generated_twice(
    server: RunningServer, direct: SweepSettings, tmp_path: Path
) -> None:
    """The server decodes each trace once, and an answer for each cut: no more than the account says."""
    settings = replace(direct, mode="forked", out=tmp_path)
    before = generated_by(server)
    account = run_sweep(settings, server.base_url).account
    assert generated_by(server) - before == account["all_generated_tokens"]
    traces = [r for r in records(settings).values() if r.kind == "trace"]
    others = [r for r in records(settings).values() if r.kind != "trace"]
    assert len(traces) == direct.limit
    # A fork adds its answer and nothing else; the thinking of the run is that of its traces.
    assert all(r.generated_tokens == r.answer_tokens for r in others if r.kind == "fork")
    decoded = sum(r.generated_tokens for r in traces) + sum(r.generated_tokens for r in others)
    assert account["all_generated_tokens"] == decoded


def test_summary_is_what_the_file_says(direct: SweepSettings) -> None:
    """Accuracy, cut share and means recomputed from the JSON lines alone."""
    lines = [json.loads(line) for line in (direct.out / SAMPLES).read_text().splitlines()]
    for point in summarise(direct.out)["points"]:
        rows = [row for row in lines if row["budget"] == point["budget"]]
        right = [row for row in rows if f"\\boxed{{{row['gold']}}}" in row["answer"]]
        cut = [row for row in rows if row["stop_cause"] == "budget"]
        assert point["n"] == len(rows) == 10
        assert point["accuracy"] == len(right) / 10
        assert point["cut"]["share"] == len(cut) / 10
        assert point["mean_thinking_tokens"] == sum(row["thinking_tokens"] for row in rows) / 10
        if point["budget"] != "max":
            assert all(row["thinking_tokens"] <= point["budget"] for row in rows)


def test_a_finished_sweep_draws_nothing_more(server: RunningServer, forked: SweepSettings) -> None:
    before = (forked.out / SAMPLES).read_bytes()
    assert run_sweep(forked, server.base_url).replies == 0
    assert (forked.out / SAMPLES).read_bytes() == before


def test_a_sweep_can_grow(server: RunningServer, tmp_path: Path) -> None:
    small = SweepSettings("thinkmath", tmp_path, (0, 4), limit=3, sampling=GREEDY, max_tokens=MAX_TOKENS)
    run_sweep(small, server.base_url)
    first = stored_keys(tmp_path)
    grown = replace(small, budgets=(4, 6, "max"), limit=4)
    run_sweep(grown, server.base_url)
    new = [r for key, r in records(grown).items() if key not in first]
    assert stored_keys(tmp_path)[: len(first)] == first
    traces = [r.problem for r in new if r.kind == "trace"]
    assert traces == [load("thinkmath", limit=4)[3].id]
    assert all(r.kind != "no_think" for r in new)
    assert {r.budget for r in new if r.kind == "fork" and r.problem not in traces} <= {6}
    with pytest.raises(ValueError, match=r"sampling\.max_tokens: .* has 220, this one asks 99"):
        run_sweep(replace(grown, max_tokens=99), server.base_url)


def test_short_replies_are_censored_alike(server: RunningServer, tmp_path: Path) -> None:
    """max_tokens that end thinking, and that leave no room for the early-stop text and an answer."""
    settings = SweepSettings(
        "thinkmath", tmp_path / "forked", (1, 3, 7, 11, 40, "max"), limit=6, sampling=GREEDY, max_tokens=30
    )
    run_sweep(settings, server.base_url)
    other = replace(settings, mode="direct", out=tmp_path / "direct")
    run_sweep(other, server.base_url)
    assert graded(settings) == graded(other)
    assert any(o.stop_cause == "length" for o in graded(settings).values())


def test_sampled_replies_have_their_own_seeds(server: RunningServer, tmp_path: Path) -> None:
    settings = SweepSettings(
        "thinkmath", tmp_path, (0, 4, "max"), limit=3, samples=3, sampling=HOT, max_tokens=MAX_TOKENS
    )
    run_sweep(settings, server.base_url)
    drawn = list(records(settings).values())
    seeds = [r.seed for r in drawn]
    assert None not in seeds
    assert len(set(seeds)) == len(seeds)
    assert len({tuple(r.token_ids or ()) for r in drawn if r.kind == "trace"}) > 3
    assert [p["n"] for p in summarise(tmp_path)["points"]] == [9, 9, 9]


def sweep_process(server: RunningServer, out: Path, *options: str) -> subprocess.Popen[str]:
    code = "import sys; from evals.cli import main; sys.exit(main(sys.argv[1:]))"
    command = ["sweep", "--problems", "thinkmath", "--limit", "30", "--budgets", "0,1,2,4,8,16,max"]
    command += ["--sampling", "greedy", "--max-tokens", str(MAX_TOKENS)]
    place = ["--base-url", server.base_url, "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-c", code, *command, *place, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )


def wait_for_lines(path: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while not (path.is_file() and path.read_bytes().count(b"\n") >= count):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_kill_and_resume(server: RunningServer, tmp_path: Path) -> None:
    """SIGKILL twice in the middle; the third run completes it with nothing doubled, lost or changed."""
    for lines in (5, 60):
        process = sweep_process(server, tmp_path)
        wait_for_lines(tmp_path / SAMPLES, lines)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.communicate()
    survived = stored_keys(tmp_path)
    assert len(survived) >= 60
    process = sweep_process(server, tmp_path)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    keys = stored_keys(tmp_path)
    assert keys[: len(survived)] == survived
    assert len(set(keys)) == len(keys)
    summary = summarise(tmp_path)
    assert [point["n"] for point in summary["points"]] == [30] * 7
    assert not summary["failed"]["incomplete_problems"]
    traces = {r.key for r in read_records(tmp_path)[0].values() if r.kind == "trace"}
    assert len(traces) == 30
    assert {r.trace for r in read_records(tmp_path)[0].values() if r.kind == "fork"} <= traces


def test_interrupt_says_how_to_resume(server: RunningServer, tmp_path: Path) -> None:
    process = sweep_process(server, tmp_path)
    wait_for_lines(tmp_path / SAMPLES, 3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "thinkdial eval sweep --problems thinkmath --limit 30 --budgets" in errors
    assert "Traceback" not in errors
    assert len(set(stored_keys(tmp_path))) == len(stored_keys(tmp_path)) >= 3


def test_two_sweeps_cannot_write_one_store(server: RunningServer, tmp_path: Path) -> None:
    process = sweep_process(server, tmp_path, "--concurrency", "1")
    wait_for_lines(tmp_path / SAMPLES, 1)
    settings = SweepSettings("thinkmath", tmp_path, (0,), limit=1)
    with pytest.raises(StoreBusyError, match=f"process {process.pid}"):
        run_sweep(settings, server.base_url)
    process.kill()
    process.communicate()


def test_refused_requests_are_told_and_asked_again(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = tmp_path / "problems.jsonl"
    rows = [
        {"id": "long", "problem": "1+" * 4000, "answer": "1"},
        {"id": "short", "problem": "1+1", "answer": "2"},
    ]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["sweep", "--problems", str(problems), "--budgets", "0,2,max", "--max-tokens", "60"]
    arguments += ["--sampling", "greedy"]
    arguments += ["--base-url", server.base_url, "--out", str(tmp_path / "run")]
    for _ in range(2):
        assert main(arguments) == 1
        assert "2 requests were refused; the first: problem problems/long" in capsys.readouterr().out
    summary = summarise(tmp_path / "run")
    assert [point["missing"] for point in summary["points"]] == [1, 1, 1]
    assert summary["failed"]["incomplete_problems"] == ["problems/long"]


def test_model_and_mode_must_fit_the_server(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "sweep",
        "--problems",
        "thinkmath",
        "--limit",
        "1",
        "--budgets",
        "2",
        "--out",
        str(tmp_path / "a"),
    ]
    assert main([*arguments, "--base-url", server.base_url, "--model", "other"]) == 2
    assert f"it serves {server.model}" in capsys.readouterr().err
    assert main([*arguments, "--base-url", "http://127.0.0.1:9"]) == 1
    assert "the server failed" in capsys.readouterr().err


class Relay(BaseHTTPRequestHandler):
    """Passes requests on to the real server; a plain one as a server that has no route of ours."""

    target: str
    plain: bool

    def do_GET(self) -> None:
        self._pass_on(None)

    def do_POST(self) -> None:
        self._pass_on(self.rfile.read(int(self.headers["content-length"])))

    def _pass_on(self, body: bytes | None) -> None:
        if self.plain and ("thinking" in self.path or (body is not None and "thinking" in json.loads(body))):
            status, answer = 404, b'{"detail": "Not Found"}'
        else:
            connection = http.client.HTTPConnection(self.target)
            connection.request(self.command, self.path, body, {"content-type": "application/json"})
            response = connection.getresponse()
            status, answer = response.status, response.read()
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing to stderr."""


@contextmanager
def relay(server: RunningServer, plain: bool) -> Iterator[str]:
    members = {"target": urlsplit(server.base_url).netloc, "plain": plain}
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Relay,), members)) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http_server.server_port}"
        http_server.shutdown()


@pytest.fixture
def plain_url(server: RunningServer) -> Iterator[str]:
    with relay(server, plain=True) as url:
        yield url


def test_forks_go_where_their_trace_was_drawn(
    server: RunningServer, forked: SweepSettings, tmp_path: Path
) -> None:
    """Two servers share the traces; each answers the forks of its own, whose prefix it has cached."""
    settings = replace(forked, out=tmp_path, concurrency=4)
    with relay(server, plain=False) as one, relay(server, plain=False) as two:
        run_sweep(settings, [one, two])
        urls = {one, two}
    drawn = records(settings)
    traces = {key: record.endpoint for key, record in drawn.items() if record.kind == "trace"}
    assert set(traces.values()) == urls
    for record in drawn.values():
        if record.kind == "fork":
            assert record.endpoint == traces[record.trace or ""]
    assert {key: r.token_ids for key, r in drawn.items()} == {
        key: r.token_ids for key, r in records(forked).items()
    }


def test_plain_openai_compatible_server(plain_url: str, direct: SweepSettings, tmp_path: Path) -> None:
    settings = replace(direct, out=tmp_path / "plain", mode="forked", budgets=(0, 7, "max"), limit=3)
    with pytest.raises(ValueError, match="measure it with --mode direct"):
        run_sweep(settings, plain_url)
    settings = replace(settings, mode="direct")
    run_sweep(settings, plain_url)
    known = {(r.problem, r.budget): r for r in records(direct).values()}
    for record in records(settings).values():
        assert record.answer == known[record.problem, record.budget].answer
        assert record.thinking_tokens == known[record.problem, record.budget].thinking_tokens
        assert (record.stop_cause, record.token_ids) == (None, None)
    assert summarise(settings.out)["points"][1]["cut"]["share"] is None
