"""Files that anybody may have written: whatever is in them is read, or refused with a ValueError by name.

Nothing else may come out: no other exception, no endless work, no memory beyond the file's.
"""

import gzip
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evals.account import ACCOUNT, read_account
from evals.bridges import inspect_logs
from evals.bridges.import_runs import import_runs, read_file
from evals.cli import main as eval_main
from evals.load.store import LOAD, read_rows
from evals.problems.jsonl import read_jsonl
from evals.questions import QUESTIONS, read_questions
from evals.records import Record
from evals.store import MANIFEST, SAMPLES, read_manifest, read_records
from evals.summary.grades import GRADES, Grades
from evals.summary.scores import SCORES, Scores
from evals.training_texts import read_texts
from serve.budget import ThinkingBudget
from serve.keys import load_keys
from serve.profile import PROFILE, read_profile
from tests.evals.made_runs import BLANK, SETTINGS, VERSIONS, plan
from trainer.sources.jsonl import Jsonl
from trainer.sources.rows import RowReader

DEEP = 100_000
BOMBS: dict[str, bytes] = {
    "nested lists": b"[" * DEEP + b"]" * DEEP,
    "nested objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "nested in a record": b'{"kind":"trace","key":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a number of 5000 digits": b'{"key": ' + b"9" * 5000 + b"}",
    "infinite": b'{"key": 1e400}',
    "not a number": b'{"key": NaN}',
    "zero bytes": b"\0" * 1000,
    "no UTF-8": b"\xff\xfe{}\x80",
    "a lone surrogate": b'{"key": "\\ud800"}',
    "no object": b"null",
    "a torn line": b'{"kind": "trace", "key": "a',
    "nothing": b"",
    "blank lines": b"\n\n \n",
    "many members": json.dumps({f"k{n}": n for n in range(50_000)}).encode(),
    "an escape": b'{"key": "\\u001b[31m", "kind": "\\u0000"}',
}
READERS: dict[str, Callable[[Path], Any]] = {
    SAMPLES: lambda path: read_records(path.parent),
    MANIFEST: lambda path: read_manifest(path.parent),
    QUESTIONS: lambda path: read_questions(path.parent),
    GRADES: lambda path: Grades(path.parent),
    SCORES: lambda path: Scores.read(path.parent),
    ACCOUNT: lambda path: read_account(path.parent),
    LOAD: lambda path: read_rows(path.parent),
    PROFILE: read_profile,
    "problems-of-mine.jsonl": lambda path: read_jsonl(path, "mine"),
    "texts.jsonl": lambda path: list(read_texts(str(path))),
    "log.json": read_file,
    "log.eval": read_file,
    "replies.jsonl": read_file,
    "rows.jsonl": lambda path: Jsonl(path, RowReader("mine", {}, ("<think>", "</think>"))),
    "keys.json": lambda path: load_keys([], path, {}, ThinkingBudget()),
    "keys.toml": lambda path: load_keys([], path, {}, ThinkingBudget()),
}
EXAMPLES: dict[str, Any] = {
    SAMPLES: {field.name: getattr(BLANK, field.name) for field in fields(Record)} | {"key": "k"},
    MANIFEST: {"format": 2, "settings": SETTINGS, "plan": plan("a"), "versions": VERSIONS},
    QUESTIONS: {"id": "a", "problem": "1+1"},
    GRADES: {"key": "k", "gold": "1", "answer": "1", "verdict": "equal", "method": "m"},
    SCORES: {"source": "s", "metrics": {"a": "m"}, "values": {"k": 0.5}},
    ACCOUNT: {
        "format": 1,
        "prices": {"input": 1, "output": 1},
        "sessions": [{"wall_seconds": 1.0, "retries": 0}],
    },
    LOAD: {"kind": "level", "arm": "a", "load": 1, "rate": 1, "seconds": 1, "replies": 0},
    "log.json": {
        "eval": {"task": "t", "model": "m"},
        "plan": {"config": {"seed": 1}},
        "samples": [
            {
                "id": 1,
                "epoch": 1,
                "input": [{"role": "user", "content": "x"}],
                "target": "1",
                "output": {
                    "choices": [
                        {"message": {"content": [{"type": "text", "text": "1"}]}, "stop_reason": "stop"}
                    ],
                    "usage": {"input_tokens": 1, "output_tokens": 2, "reasoning_tokens": 1},
                    "time": 1.0,
                },
                "scores": {"s": {"value": "C"}},
            }
        ],
    },
    "replies.jsonl": {"prompt": "p", "answer": 1, "gen": ["x"], "score": [True]},
    "rows.jsonl": {"messages": [{"role": "user", "content": "x"}], "answer": "1"},
    "keys.json": {"keys": [{"name": "a", "key": "sk", "max_budget": 1, "default_thinking": {"budget": 3}}]},
}
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["\ud800", "\0", "", "max", "trace", "failure", "sha256"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in items for found in places(item, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], to: Any) -> Any:
    if not path:
        return to
    copy = value.copy()
    copy[path[0]] = changed(copy[path[0]], path[1:], to)
    return copy


def read(name: str, path: Path) -> None:
    with suppress(ValueError):
        READERS[name](path)


def count_or_error(directory: Path) -> int | str:
    """How many records a store has, or what is wrong with it."""
    try:
        return len(read_records(directory)[0])
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("name", READERS)
def test_bombs(tmp_path: Path, name: str, bomb: str) -> None:
    path = tmp_path / name
    path.write_bytes(BOMBS[bomb] + b"\n")
    read(name, path)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_member_of_another_kind(tmp_path: Path, name: str) -> None:
    """A right file with one value replaced, wherever it stands."""
    example = EXAMPLES[name]
    path = tmp_path / name
    path.write_text(json.dumps(example) + "\n")
    READERS[name](path)

    @settings(max_examples=120, deadline=None, derandomize=True, database=None)
    @given(st.sampled_from(places(example)), values)
    def check(place: tuple[Any, ...], to: Any) -> None:
        path.write_text(json.dumps(changed(example, place, to)) + "\n")
        read(name, path)

    check()


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cut=st.integers(0, 2000), rubbish=st.binary(max_size=40))
def test_a_store_that_is_torn_anywhere(tmp_path: Path, cut: int, rubbish: bytes) -> None:
    """Whole lines before the tear are there; what is no line is passed over, or named with its number."""
    lines = [json.dumps(EXAMPLES[SAMPLES] | {"key": f"k{n}"}).encode() + b"\n" for n in range(4)]
    whole = b"".join(lines)
    (tmp_path / SAMPLES).write_bytes(whole[:cut])
    records, _ = read_records(tmp_path)
    assert len(records) == whole[:cut].count(b"\n")
    (tmp_path / SAMPLES).write_bytes(whole + rubbish)
    found = count_or_error(tmp_path)
    assert f"{SAMPLES}:" in found if isinstance(found, str) else found >= 4


def test_a_number_that_would_poison_every_mean(tmp_path: Path) -> None:
    for name, value in (("seconds", float("nan")), ("thinking_tokens", 10**400), ("chance", float("inf"))):
        (tmp_path / SAMPLES).write_text(json.dumps(EXAMPLES[SAMPLES] | {name: value}) + "\n")
        with pytest.raises(ValueError, match=rf"samples\.jsonl:1: not a record \({name} is"):
            read_records(tmp_path)


@pytest.mark.parametrize("bomb", BOMBS)
def test_the_command_says_it_in_a_line(tmp_path: Path, bomb: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps(EXAMPLES[MANIFEST]))
    (tmp_path / SAMPLES).write_bytes(BOMBS[bomb] + b"\n")
    status = eval_main(["report", str(tmp_path)])
    assert status in (0, 1, 2)
    if status:
        assert capsys.readouterr().err.startswith("thinkdial eval: ")


def bomb_log(path: Path, method: int) -> Path:
    """A log of inspect of a few kilobytes whose sample unpacks to a gigabyte."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("header.json", json.dumps({"eval": {"task": "t"}}))
        with archive.open("samples/1.json", "w", force_zip64=True) as member:
            for _ in range(64):
                member.write(b" " * 2**24)
    return path


def test_a_zip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_logs, "MOST_BYTES", 2**28)
    with pytest.raises(ValueError, match="unpacks to 1,073,741,"):
        read_file(bomb_log(tmp_path / "bomb.eval", zipfile.ZIP_DEFLATED))


def test_a_zstandard_member_that_lies_about_its_size(tmp_path: Path) -> None:
    """The directory says 100 bytes; the frame holds 256 MiB. No more than 100 are unpacked."""
    packed = zstandard.ZstdCompressor().compress(b" " * 2**28)
    path = tmp_path / "lie.eval"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", json.dumps({"eval": {"task": "t"}}))
        archive.writestr("samples/1.json", packed)
        info = archive.getinfo("samples/1.json")
        info.compress_type, info.file_size = inspect_logs.ZSTANDARD, 100
    with pytest.raises(ValueError, match=r"samples/1\.json: not JSON"):
        read_file(path)


@pytest.mark.parametrize("broken", ["compressed", "encrypted", "cut", "unknown"])
def test_broken_archives(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"eval": {"task": "t"}}) + " " * 1000)
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    if broken == "compressed":
        data[50] ^= 0xFF
    elif broken == "encrypted":
        data[6] |= 1
        data[directory + 8] |= 1
    elif broken == "cut":
        del data[20:60]
    else:
        data[directory + 10] = 77
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"log\.eval"):
        read_file(path)


def test_a_gzipped_file_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_bytes(gzip.compress(b'{"prompt": "p"}'))
    with pytest.raises(ValueError, match="not JSON"):
        read_file(path)


def test_what_is_imported_can_be_read(tmp_path: Path) -> None:
    """Counts of another type are refused before a store is made of them."""
    log = changed(EXAMPLES["log.json"], ("samples", 0, "output", "time"), "soon")
    path = tmp_path / "log.json"
    path.write_text(json.dumps(log))
    with pytest.raises(ValueError, match="seconds is 'soon'"):
        import_runs([(path, None)], tmp_path / "run")
    assert not (tmp_path / "run").exists()
