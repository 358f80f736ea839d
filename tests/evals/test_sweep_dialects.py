"""Hosted APIs are asked in their own words; what they cannot be asked is said before anything is drawn."""

from pathlib import Path
from typing import Any

import pytest
from scripted_api import ScriptedAPI

from evals.budgets import Budget
from evals.store import read_manifest, read_records
from evals.sweep.dialects import DIALECTS, choose
from evals.sweep.presets import PRESETS, sampling
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings

TEMPLATE_OFF = {"chat_template_kwargs": {"enable_thinking": False}}
TEMPLATE_ON = {"chat_template_kwargs": {"enable_thinking": True}}


def settings(out: Path, dialect: str, *budgets: Budget, **fields: Any) -> SweepSettings:
    fields = {"sampling": PRESETS["server"], "limit": 1, **fields}
    return SweepSettings("thinkmath", out, budgets, mode="direct", dialect=dialect, **fields)


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (
            "vllm",
            {
                0: TEMPLATE_OFF,
                64: {"thinking_token_budget": 64, **TEMPLATE_ON},
                "max": TEMPLATE_ON,
                "low": {"reasoning_effort": "low"},
                "off": TEMPLATE_OFF,
                "on": TEMPLATE_ON,
            },
        ),
        (
            "sglang",
            {
                0: TEMPLATE_OFF,
                64: {"custom_params": {"thinking_budget": 64}, **TEMPLATE_ON},
                "max": TEMPLATE_ON,
                "high": {"reasoning_effort": "high"},
            },
        ),
        (
            "llamacpp",
            {
                64: {"thinking_budget_tokens": 64, "reasoning_budget_tokens": 64, **TEMPLATE_ON},
                0: TEMPLATE_OFF,
            },
        ),
        (
            "openai",
            {
                "none": {"reasoning_effort": "none"},
                "medium": {"reasoning_effort": "medium"},
                "xhigh": {"reasoning_effort": "xhigh"},
            },
        ),
        (
            "openrouter",
            {
                0: {"reasoning": {"enabled": False}},
                64: {"reasoning": {"max_tokens": 64}},
                "max": {"reasoning": {"enabled": True}},
                "low": {"reasoning": {"effort": "low"}},
                "off": {"reasoning": {"enabled": False}},
                "on": {"reasoning": {"enabled": True}},
            },
        ),
        (
            "dashscope",
            {
                0: {"enable_thinking": False},
                64: {"enable_thinking": True, "thinking_budget": 64},
                "max": {"enable_thinking": True},
                "off": {"enable_thinking": False},
                "on": {"enable_thinking": True},
            },
        ),
    ],
)
def test_request_bodies(dialect: str, expected: dict[Budget, dict[str, Any]], tmp_path: Path) -> None:
    limit = DIALECTS[dialect].limit
    stream = {"stream": True, "stream_options": {"include_usage": True}} if dialect == "dashscope" else {}
    with ScriptedAPI() as api:
        for number, (budget, fields) in enumerate(expected.items()):
            run_sweep(settings(tmp_path / str(number), dialect, budget, max_tokens=500), api.base_url)
            body = api.bodies[number]
            assert isinstance(body.pop("seed"), int)
            assert body.pop("messages")[0]["role"] == "user"
            assert body == {"model": "m", limit: 500, **fields, **stream}
            records, failures = read_records(tmp_path / str(number))
            (record,) = records.values()
            assert not failures
            assert (record.budget, record.thinking, record.answer) == (budget, "hm", r"\boxed{7}")
            assert (record.prompt_tokens, record.thinking_tokens, record.answer_tokens) == (11, 4, 5)
            assert (record.stop_cause, record.logprobs, record.endpoint) == (None, None, api.base_url)


@pytest.mark.parametrize(
    ("dialect", "budget", "message"),
    [
        ("openai", 64, "budgets: 64 cannot be asked for in the dialect openai; it has effort levels, off"),
        ("openai", "on", "budgets: on cannot be asked for"),
        ("dashscope", "low", "budgets: low cannot be asked for in the dialect dashscope; it has numbers"),
        ("telepathy", 64, "dialect: 'telepathy' is not known; give auto or one of thinkdial, vllm"),
    ],
)
def test_what_cannot_be_asked_is_said(dialect: str, budget: Budget, message: str, tmp_path: Path) -> None:
    with ScriptedAPI() as api:
        with pytest.raises(ValueError, match=message):
            run_sweep(settings(tmp_path, dialect, budget), api.base_url)
        with pytest.raises(ValueError, match="top_k: 20 cannot be asked for in the dialect openai"):
            run_sweep(settings(tmp_path, "openai", "low", sampling=PRESETS["qwen3"]), api.base_url)
        assert not api.bodies


def test_sampling_values_are_sent_by_mode(tmp_path: Path) -> None:
    with ScriptedAPI() as api:
        run_sweep(settings(tmp_path / "qwen3", "auto", 0, 8, sampling=PRESETS["qwen3"]), api.base_url)
        run_sweep(settings(tmp_path / "greedy", "auto", 0, sampling=PRESETS["greedy"]), api.base_url)
        no_top_k = sampling("qwen3", top_k=0)
        run_sweep(settings(tmp_path / "openai", "openai", "low", sampling=no_top_k), api.base_url)
    names = ("temperature", "top_p", "top_k", "presence_penalty")
    sent = [{name: body[name] for name in names if name in body} for body in api.bodies]
    off = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "presence_penalty": 1.5}
    on = {"temperature": 0.6, "top_p": 0.95, "top_k": 20}
    assert sorted(sent[:2], key=len) == [on, off]
    assert sent[2:] == [{"temperature": 0}, {"temperature": 0.6, "top_p": 0.95}]


def test_auto_knows_the_hosts() -> None:
    names = {
        "https://api.openai.com/v1": "openai",
        "https://openrouter.ai/api/v1": "openrouter",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1": "dashscope",
        "https://notopenrouter.ai": "vllm",
        "http://127.0.0.1:8000": "vllm",
    }
    assert {url: choose("auto", url, has_format=False).name for url in names} == names
    assert choose("auto", "http://127.0.0.1:8000", has_format=True).name == "thinkdial"


def test_key_is_sent_and_never_stored(tmp_path: Path) -> None:
    with ScriptedAPI() as api:
        run_sweep(settings(tmp_path, "vllm", "off", "on"), api.base_url, api_key="s3cret-key")
    assert set(api.keys) == {"Bearer s3cret-key"}
    assert all(b"s3cret-key" not in path.read_bytes() for path in tmp_path.iterdir())
    assert read_manifest(tmp_path)["settings"]["dialect"] == "vllm"
    assert read_manifest(tmp_path)["settings"]["axis"] == "switch"


def test_longer_thinking_than_asked_is_counted(tmp_path: Path) -> None:
    with ScriptedAPI() as api:
        assert run_sweep(settings(tmp_path, "vllm", 3, 4, limit=2), api.base_url).over_budget == 2


def test_a_prompt_file_that_changes_under_a_sweep_changes_nothing(tmp_path: Path) -> None:
    """What is asked, what is stored as asked and the keys stay those of the start."""
    path = tmp_path / "prompt.txt"
    path.write_text("Before: {problem}")

    def script(body: dict[str, Any], number: int) -> None:
        path.write_text("After: {problem}")

    asked = settings(tmp_path / "run", "vllm", 3, limit=4, concurrency=1, prompt=str(path))
    with ScriptedAPI(script) as api:
        run_sweep(asked, api.base_url)
    assert len(api.bodies) == 4
    assert all(body["messages"][0]["content"].startswith("Before: ") for body in api.bodies)


def test_a_budget_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="budgets: 4, 8, 4 repeats one"):
        settings(tmp_path, "vllm", 4, 8, 4)
