"""Load tests without a model: arrivals, the open loop against a slow server, the store, and the numbers."""

import asyncio
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from evals.cli import main
from evals.load.client import open_loop, saturate
from evals.load.report import FILES, terminal, write_load_report
from evals.load.run import LoadSettings, arrivals
from evals.load.store import LOAD, LoadStore, read_rows
from evals.load.summary import summarise_load
from evals.stats.latency import quantile, quantile_interval
from serve.bench.load import chat_request

DELAY = 0.3
SETTINGS = {"model": "m", "problems": ["p"], "asked": {"a": "1"}, "utilisation": 0.5, "families": False}
SETTINGS |= {"seconds": 10.0, "max_num_seqs": None}


def test_arrivals_are_a_poisson_process_over_all_problems() -> None:
    schedule = arrivals(50.0, 200.0, 40, seed="1")
    assert schedule == arrivals(50.0, 200.0, 40, seed="1")
    assert schedule != arrivals(50.0, 200.0, 40, seed="2")
    assert len(schedule) == pytest.approx(10_000, rel=0.05)
    times = [due for due, _ in schedule]
    gaps = [after - before for before, after in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 50, rel=0.05)
    # Exponential: the standard deviation is the mean.
    assert (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 == pytest.approx(mean, rel=0.1)
    for start in range(0, 4000, 40):
        assert sorted(which for _, which in schedule[start : start + 40]) == list(range(40))


@contextmanager
def slow_server() -> Iterator[str]:
    """A server that answers a chat after a delay; the text "break" it breaks off, "refuse" is an error."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            text = json.loads(await reader.readexactly(length))["messages"][0]["content"]
            if text == "refuse":
                writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno")
                continue
            await asyncio.sleep(DELAY)
            if text == "break":
                writer.close()
                return
            choice = {"delta": {"content": text}, "finish_reason": "stop", "thinking": {"tokens": 3}}
            events = [{"choices": [choice]}, {"choices": [], "usage": {"completion_tokens": 7}}]
            body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            writer.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")

    async def end_tasks() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(end_tasks())
        loop.close()


def request(url: str, text: str) -> bytes:
    return chat_request(url, {"messages": [{"role": "user", "content": text}]})


def test_requests_are_sent_when_due_answered_or_not() -> None:
    with slow_server() as url:
        texts = ["one", "two", "break", "refuse", "three"]
        due = [0.0, 0.05, 0.1, 0.12, 0.15]
        found = open_loop(url, [(time, request(url, text)) for time, text in zip(due, texts, strict=True)])
    # All were under way before the first was answered. A sleep may end a moment early.
    assert found[0].ended is not None
    for reply, time in zip(found, due, strict=True):
        assert reply.due == time
        assert reply.sent is not None
        assert time - 0.01 <= reply.sent < found[0].ended
    assert [reply.answer for reply in found] == ["one", "two", "", "", "three"]
    for index in (0, 1, 4):
        reply = found[index]
        assert reply.ended is not None
        assert reply.ended - reply.sent >= DELAY
        assert (reply.report, reply.tokens, reply.error) == ({"tokens": 3}, 7, None)
    assert found[2].error == "the server closed the connection within a reply"
    assert "400 Bad Request" in (found[3].error or "")


def test_throughput_of_a_saturated_server() -> None:
    with slow_server() as url:
        # Four at a time, each as long as the delay or longer: more than one at a time would give.
        assert 1.5 / DELAY < saturate(url, [request(url, "x")], 4, 2.0) < 4.5 / DELAY
        with pytest.raises(RuntimeError, match="400"):
            saturate(url, [request(url, "refuse")], 1, 1.0)


def reply(arm: str, load: float, index: int, **members: Any) -> dict[str, Any]:
    report = {"tokens": 8, "budget": None}
    fields = {"problem": "a", "gold": "4", "subject": None, "level": None, "due": 1.0, "sent": 1.0}
    fields |= {"ended": 2.0, "answer": "\\boxed{4}", "report": report, "tokens": 20, "error": None}
    return {"kind": "reply", "arm": arm, "load": load, "index": index, **fields, **members}


def level(arm: str, load: float, replies: int) -> dict[str, Any]:
    return {"kind": "level", "arm": arm, "load": load, "rate": 2.0, "seconds": 10.0, "replies": replies}


def test_a_load_that_did_not_end_is_forgotten(tmp_path: Path) -> None:
    store = LoadStore(tmp_path, SETTINGS)
    store.add([reply("plain", 1.0, 0), level("plain", 1.0, 1)])
    with (tmp_path / LOAD).open("a") as file:
        file.write(json.dumps(reply("plain", 2.0, 0)) + "\n")
        file.write('{"kind": "level", "arm": "pl')  # killed here
    again = LoadStore(tmp_path, SETTINGS)
    assert again.find("level", arm="plain", load=1.0) is not None
    assert again.find("level", arm="plain", load=2.0) is None
    assert again.find("reply", load=2.0) is None
    again.add([reply("plain", 2.0, 0, answer="b"), reply("plain", 2.0, 1), level("plain", 2.0, 2)])
    rows = read_rows(tmp_path)
    assert rows == again.rows
    assert [row["answer"] for row in rows if row["kind"] == "reply" and row["load"] == 2.0] == [
        "b",
        "\\boxed{4}",
    ]


def test_other_settings_and_damage_are_refused(tmp_path: Path) -> None:
    LoadStore(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match=r"seconds: the run in .* has 10\.0, this one asks 5\.0"):
        LoadStore(tmp_path, SETTINGS | {"seconds": 5.0})
    with (tmp_path / LOAD).open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(ValueError, match=rf"{LOAD}:2: not a row"):
        read_rows(tmp_path)
    with pytest.raises(ValueError, match="holds no load test"):
        read_rows(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"loads": (2.0, 1.0)}, "loads: 2, 1 is wrong"),
        ({"loads": ()}, "loads: none is wrong"),
        ({"seconds": 0.0}, "seconds: 0 is no time"),
        ({"latency_target": -1.0}, "latency_target: -1 is no time"),
        ({"utilisation": 1.5}, "utilisation: 1.5 is no share"),
        ({"concurrency": 0}, "concurrency: 0 is too few"),
        ({"max_num_seqs": 0}, "max_num_seqs: 0 is too few"),
    ],
)
def test_settings_are_checked(members: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        LoadSettings(tmp_path, ("thinkmath",), **members)


def test_flags_of_servers_that_run_already_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    running = ["--base-url", "http://one", "--shedding-url", "http://other", "--latency-target", "1"]
    asked = [
        "load",
        "--problems",
        "thinkmath",
        *running,
        "--max-num-seqs",
        "4",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(asked) == 2
    assert "max_num_seqs: --base-url runs already" in capsys.readouterr().err


def made_run(directory: Path) -> None:
    """At 2x half of the replies are late without shedding; with it none is, and every fourth is wrong."""
    store = LoadStore(directory, SETTINGS)
    store.add([{"kind": "capacity", "requests_per_second": 4.0, "concurrency": 8, "seconds": 5.0}])
    problems = [f"problem {number}" for number in range(20)]
    late = [
        reply("plain", 2.0, i, problem=problem, ended=1.5 if i % 2 else 9.0)
        for i, problem in enumerate(problems)
    ]
    late[0] |= {"error": "gone", "ended": None, "report": None, "answer": ""}
    lowered = {"tokens": 0, "budget": 0, "lowered_by": "load"}
    good = [
        reply("shedding", 2.0, i, problem=problem)
        | ({"answer": "\\boxed{5}", "report": lowered} if i % 4 == 0 else {})
        for i, problem in enumerate(problems)
    ]
    store.add([*late, level("plain", 2.0, 20)])
    store.add([{"kind": "target", "seconds": 1.25, "from": "as given"}])
    store.add([*good, level("shedding", 2.0, 20)])


def test_the_numbers_of_a_load_test(tmp_path: Path) -> None:
    made_run(tmp_path)
    summary = summarise_load(tmp_path)
    plain, shedding = summary["levels"]
    assert summary["one"] == 2.0
    assert plain["failed"] == 1
    assert plain["latency"]["p50"] == 0.5
    assert (
        plain["latency"]["p95"] == 8.0
    )  # the reply that failed is later than all, the others are as they were
    assert plain["latency"]["p95_high"] is None  # the one that failed is later than all
    assert plain["latency"]["within"] == 0.5
    assert plain["accuracy"]["mean"] == 0.95  # a request without a reply is wrong
    assert plain["goodput"] == 10 / 10
    assert plain["lowered"] == 0
    assert shedding["latency"]["p95"] == 1.0
    assert shedding["accuracy"]["mean"] == 0.75
    assert shedding["goodput"] == 15 / 10
    assert shedding["lowered"] == shedding["off"] == 0.25
    assert shedding["mean_thinking_tokens"] == 6
    (comparison,) = summary["comparisons"]
    assert comparison["gain"] == pytest.approx(-0.2)
    assert comparison["low"] < -0.2 < comparison["high"]


def test_the_report_is_written(tmp_path: Path) -> None:
    made_run(tmp_path)
    summary = write_load_report(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([LOAD, *FILES])
    assert "6.40 times the target of 1.25 s without shedding and 0.80 times with it" in terminal(summary)
    assert "25.0 % of budgets lowered" in terminal(summary)
    page = (tmp_path / "load.html").read_text("utf-8")
    assert 'src="data:image/png;base64,' in page
    assert "img-src data:;" in page
    assert json.loads((tmp_path / "load.json").read_text("utf-8")) == summary


def test_quantiles_and_what_their_intervals_cover() -> None:
    assert quantile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.0
    assert quantile([3.0, 1.0, 2.0, 4.0], 0.75) == 3.0
    with pytest.raises(ValueError, match="of 0 values"):
        quantile([], 0.5)
    rng = random.Random(0)
    covered = 0
    for _ in range(400):
        low, high = quantile_interval([rng.random() for _ in range(200)], 0.95)
        covered += low <= 0.95 <= high
    assert 0.93 <= covered / 400 <= 1
    assert quantile_interval([1.0], 0.95) == (1.0, 1.0)
