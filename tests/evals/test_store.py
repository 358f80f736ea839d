"""The store: what it holds survives kills, a second writer and other settings are refused."""

import copy
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import SETTINGS, VERSIONS, no_think, plan, trace

from evals.problems import Problem
from evals.records import Failure, Record, content_hash, problem_hash
from evals.store import (
    LOCK,
    MANIFEST,
    SAMPLES,
    Store,
    StoreBusyError,
    iter_records,
    read_manifest,
    read_records,
)

WRITER = """
import sys
from pathlib import Path
from made_runs import SETTINGS, VERSIONS, plan, trace
from evals.store import Store

with Store.open(Path(sys.argv[1]), SETTINGS, plan(), VERSIONS) as store:
    print("open", flush=True)
    for number in range(100_000):
        record = trace(str(number), number, answer="long " * 500)
        if record.key not in store:
            store.add(record)
            print(number, flush=True)
"""


def fill(directory: Path, *problems: str) -> None:
    with Store.open(directory, SETTINGS, plan(*problems), VERSIONS) as store:
        for problem in problems:
            store.add(trace(problem, 3))


def test_records_come_back(tmp_path: Path) -> None:
    records = [trace("a", 3, token_ids=[1, 2], seed=None), no_think("b", answer="\N{SNOWMAN} \ud800 \n \x00")]
    with Store.open(tmp_path, SETTINGS, plan("a", "b"), VERSIONS) as store:
        for record in records:
            store.add(record)
        with pytest.raises(ValueError, match="already stored"):
            store.add(records[0])
    stored, failures = read_records(tmp_path)
    assert list(stored.values()) == records
    assert not failures


@given(st.text(), st.lists(st.integers(0, 2**31)))
def test_any_reply_is_one_line(answer: str, token_ids: list[int]) -> None:
    record = trace("a", 3, answer=answer, token_ids=token_ids)
    line = json.dumps(record.to_json())
    assert "\n" not in line
    assert Record.from_json(json.loads(line)) == record


def test_torn_line_is_passed_over_and_cut_off(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b")
    whole = (tmp_path / SAMPLES).read_bytes()
    last = len(whole) - whole.rstrip(b"\n").rfind(b"\n") - 1
    for torn in (1, 2, last // 2, last - 1):
        (tmp_path / SAMPLES).write_bytes(whole[: len(whole) - torn])
        assert list(read_records(tmp_path)[0]) == ["a/0/trace"]
        with Store.open(tmp_path, SETTINGS, plan("a", "b"), VERSIONS) as store:
            assert (len(store), "a/0/trace" in store) == (1, True)
            store.add(trace("b", 3))
        assert (tmp_path / SAMPLES).read_bytes() == whole


def test_long_torn_line(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    whole = (tmp_path / SAMPLES).read_bytes()
    (tmp_path / SAMPLES).write_bytes(whole + b"{" * 300_000)
    fill_none = Store.open(tmp_path, SETTINGS, plan("a"), VERSIONS)
    with fill_none:
        pass
    assert (tmp_path / SAMPLES).read_bytes() == whole


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    """A write that ends early is taken back, so that what is appended after it is whole."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store.open(tmp_path, SETTINGS, plan("a", "b", "c"), VERSIONS) as store:
        store.add(trace("a", 3))
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / SAMPLES).stat().st_size + 100, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                store.add(trace("b", 3))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        store.add(trace("c", 3))
        assert store.read("c/0/trace").problem == "c"
    assert list(read_records(tmp_path)[0]) == ["a/0/trace", "c/0/trace"]


def test_damage_elsewhere_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b")
    lines = (tmp_path / SAMPLES).read_bytes().splitlines(keepends=True)
    (tmp_path / SAMPLES).write_bytes(lines[0][:20] + b"\n" + lines[1])
    with pytest.raises(ValueError, match=r"samples\.jsonl:1: not a record"):
        read_records(tmp_path)
    (tmp_path / SAMPLES).write_bytes(lines[0] + lines[0])
    with pytest.raises(ValueError, match=r"samples\.jsonl:2: key a/0/trace is stored twice"):
        read_records(tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_kill_while_writing(tmp_path: Path, seed: int) -> None:
    """SIGKILL at a random moment, three times over: every acknowledged record is there, once."""
    rng = random.Random(seed)
    acknowledged: list[str] = []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.getcwd()])},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        time.sleep(rng.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.read().split()
        process.wait()
        stored = [record.problem for record in read_records(tmp_path)[0].values()]
        assert stored == [str(number) for number in range(len(stored))]
        # At most the record whose acknowledgement the kill cut off is there beyond them.
        assert stored[: len(acknowledged)] == acknowledged
        assert len(stored) - len(acknowledged) in (0, 1)
        acknowledged = stored


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with (
        Store.open(tmp_path, SETTINGS, plan("a"), VERSIONS),
        pytest.raises(StoreBusyError, match=rf"another sweep \(process {os.getpid()}\)"),
        Store.open(tmp_path, SETTINGS, plan("a"), VERSIONS),
    ):
        pass
    fill(tmp_path, "a")


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("model", ["model"], "other"),
        ("mode", ["mode"], "direct"),
        ("sampling.thinking.temperature", ["sampling", "thinking", "temperature"], 0.6),
        ("sampling.max_tokens", ["sampling", "max_tokens"], 99),
        ("thinking_format.stop_ids", ["thinking_format", "stop_ids"], [90]),
        ("thinking_format", ["thinking_format"], None),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, name: str, path: list[str], value: object) -> None:
    fill(tmp_path, "a")
    before = (tmp_path / MANIFEST).read_bytes()
    settings = copy.deepcopy(SETTINGS)
    place = settings
    for member in path[:-1]:
        place = place[member]
    place[path[-1]] = value
    with (
        pytest.raises(ValueError, match=rf"^{name}: the run in .* has .*, this one asks"),
        Store.open(tmp_path, settings, plan("a"), VERSIONS),
    ):
        pass
    assert (tmp_path / MANIFEST).read_bytes() == before


def test_a_run_may_grow(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    with Store.open(tmp_path, SETTINGS, plan("b", "a", budgets=(16, 8), samples=2), {"thinkdial": "1"}):
        pass
    with Store.open(tmp_path, SETTINGS, plan("a", budgets=(8,)), VERSIONS):
        pass
    manifest = read_manifest(tmp_path)
    assert manifest["plan"]["budgets"] == [0, 8, 16, "max"]
    assert manifest["plan"]["samples"] == 2
    assert list(manifest["plan"]["problems"]) == ["a", "b"]
    assert manifest["versions"] == VERSIONS


def test_changed_problem_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    changed = {**plan("a"), "problems": {"a": "another hash"}}
    with pytest.raises(ValueError, match="problems: 'a'"), Store.open(tmp_path, SETTINGS, changed, VERSIONS):
        pass


def test_killed_before_the_first_record(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("")
    (tmp_path / f"{MANIFEST}.tmp").write_text('{"format"')
    fill(tmp_path, "a")
    assert len(read_records(tmp_path)[0]) == 1


def test_directory_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        read_manifest(tmp_path)
    (tmp_path / SAMPLES).write_text("")
    with pytest.raises(ValueError, match="without manifest"):
        fill(tmp_path, "a")


def test_failures_are_asked_again(tmp_path: Path) -> None:
    with Store.open(tmp_path, SETTINGS, plan("a", "b"), VERSIONS) as store:
        store.add_failure(Failure("a/0/trace", "a", 0, "max", "HTTP 400"))
        store.add_failure(Failure("b/0/trace", "b", 0, "max", "HTTP 400"))
        assert "a/0/trace" not in store
        store.add(trace("a", 3))
    records, failures = read_records(tmp_path)
    assert list(records) == ["a/0/trace"]
    assert [failure.problem for failure in failures.values()] == ["b"]


def test_records_are_read_back_by_key(tmp_path: Path) -> None:
    """Long and short lines, those of an earlier sweep and those just written."""
    records = [trace(str(n), n, answer="x" * n * 9_000, token_ids=[n]) for n in range(20)]
    for part in (records[:10], records[10:]):
        with Store.open(tmp_path, SETTINGS, plan("a"), VERSIONS) as store:
            for record in part:
                store.add(record)
            assert store.read(records[0].key) == records[0]
    with Store.open(tmp_path, SETTINGS, plan("a"), VERSIONS) as store:
        assert [store.read(record.key) for record in records] == records
        assert list(iter_records(tmp_path)) == records
        entry = store.entry(records[7].key)
        assert entry is not None
        assert entry.thinking_tokens == 7
        assert store.entry("nothing") is None
        with pytest.raises(KeyError):
            store.read("nothing")


def test_memory_does_not_grow_with_the_replies(tmp_path: Path) -> None:
    """A store keeps an entry of some hundred bytes for each record, however long the reply."""
    count = 500
    with Store.open(tmp_path, SETTINGS, plan("a"), VERSIONS) as store:
        lines = [json.dumps(trace(str(n), n, token_ids=list(range(500))).to_json()) for n in range(count)]
        (tmp_path / SAMPLES).write_text("".join(line + "\n" for line in lines))
    tracemalloc.start()
    with Store.open(tmp_path, SETTINGS, plan("a"), VERSIONS) as store:
        assert len(store) == count
        kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 500 * count
    assert peak < 1000 * count
    assert (tmp_path / SAMPLES).stat().st_size > 1500 * count


def test_content_keys() -> None:
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1})
    assert content_hash(["a", "b"]) != content_hash(["ab"])
    first = Problem(id="1", problem="2+2", answer="4")
    assert problem_hash(first) == problem_hash(Problem(id="1", problem="2+2", answer="4", level=3))
    assert problem_hash(first) != problem_hash(Problem(id="1", problem="2+2", answer="5"))
