"""Key files and the other places keys come from: what is read, and what is refused by name."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from serve.budget import ThinkingBudget
from serve.keys import ApiKey, KeyFileError, KeyRing, load_keys

NONE = ThinkingBudget()
TOML = """
[[keys]]
name = "alice"
key = "sk-alice"
max_budget = 512
default_thinking = {deadline = 30, budget = 64}
max_concurrent_requests = 4

[[keys]]
name = "bob"
sha256 = "%s"
"""
JSON = '{"keys": [{"name": "alice", "key": "sk-alice"}, {"name": "bob", "sha256": "%s"}]}'


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_key_file(tmp_path: Path) -> None:
    file = write(tmp_path, "keys.toml", TOML % digest("sk-bob").upper())
    ring = load_keys([], file, {"VLLM_API_KEY": "unused"}, ThinkingBudget(soft=8, budget=9))
    assert ring.find(["sk-alice"]) == ApiKey("alice", 512, ThinkingBudget(budget=64, deadline=30, soft=8), 4)
    assert ring.find(["wrong", "sk-bob"]) == ApiKey("bob")
    assert ring.find(["unused"]) is None
    assert ring.find([]) is None
    assert ring.find(["sk-alic\udcff".encode("utf-8", "replace").decode()]) is None


def test_json_says_the_same(tmp_path: Path) -> None:
    ring = load_keys([], write(tmp_path, "keys.json", JSON % digest("sk-bob")), {}, NONE)
    assert ring.find(["sk-bob"]) == ApiKey("bob")
    assert len(ring) == 2


def test_the_command_line_wins_over_the_environment(tmp_path: Path) -> None:
    environment = {"VLLM_API_KEY": "one", "THINKDIAL_API_KEYS": "two three"}
    ring = load_keys([], None, environment, NONE)
    assert [ring.find([key]) for key in ("one", "two", "three")] == [
        ApiKey(f"key-{number}") for number in (1, 2, 3)
    ]
    ring = load_keys(["four"], None, environment, NONE)
    assert ring.find(["one"]) is None
    file = write(tmp_path, "keys.json", JSON % digest("sk-bob"))
    assert len(load_keys(["four", "five"], file, environment, NONE)) == 4
    assert len(load_keys([], None, {}, NONE)) == len(KeyRing()) == 0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "name is None"),
        ({"name": "x"}, "one of key and sha256"),
        ({"name": "x", "key": "k", "sha256": "0" * 64}, "one of key and sha256"),
        ({"name": "x", "sha256": "12"}, "64 hexadecimal digits"),
        ({"name": "x", "key": ""}, "empty"),
        ({"name": "x", "key": "a b"}, "white space"),
        ({"name": "x", "key": 1}, "must be a text"),
        ({"name": "x", "key": "k", "max_budget": -1}, "max_budget is -1"),
        ({"name": "x", "key": "k", "max_budget": True}, "max_budget is True"),
        ({"name": "x", "key": "k", "max_concurrent_requests": 0}, "max_concurrent_requests is 0"),
        ({"name": "x", "key": "k", "default_thinking": {"budgets": 1}}, "default_thinking.budgets"),
        ({"name": "x", "key": "k", "default_thinking": 5}, "default_thinking is 5"),
        ({"name": "x", "key": "k", "maximum": 5}, "maximum is not known"),
        ({"name": "alice", "key": "other"}, "'alice' is there twice"),
        ({"name": "x", "key": "sk-alice"}, "'x' is there twice"),
        ("x", "must be a table"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, entry: Any, message: str) -> None:
    keys = [{"name": "alice", "key": "sk-alice"}, entry]
    file = write(tmp_path, "keys.json", json.dumps({"keys": keys}))
    with pytest.raises(KeyFileError, match=message) as error:
        load_keys([], file, {}, NONE)
    assert str(file) in str(error.value)
    assert "sk-alice" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("keys.json", "[]"),
        ("keys.json", '{"keys": []}'),
        ("keys.json", "{"),
        ("keys.toml", "x"),
        ("keys.yaml", ""),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(KeyFileError, match=name):
        load_keys([], write(tmp_path, name, text), {}, NONE)


def test_an_empty_key_on_the_command_line() -> None:
    with pytest.raises(ValueError, match="empty"):
        load_keys([""], None, {}, NONE)
