"""A server with a thinking profile: efforts in every dialect, targets, costs, families, and their reports."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from clients import Client
from evals.bench.effort_levels import ask_levels, kept, table
from evals.problems import load
from evals.sweep.presets import GREEDY
from serve import DEFAULT_MODEL, cli
from serve.budget import EFFORT_SHARES
from serve.checkpoint import checkpoint_files, checkpoint_hash
from serve.launch import RunningServer, start_server
from serve.profile import read_profile
from tests.serve.made_profile import LEVELS, document, recommended, write_profile

pytestmark = pytest.mark.slow

SHARES = {"minimal": 0.3, "low": 0.5, "medium": 0.8, "high": 0.85, "xhigh": 0.9, "max": None}


@pytest.fixture(scope="module")
def profile_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made profile of the shipped model, known by its hash."""
    told = {
        name: {**row, "share": SHARES[name], "accuracy": SHARES[name]} for name, row in recommended().items()
    }
    path = tmp_path_factory.mktemp("profile") / "made.json"
    digest = checkpoint_hash(checkpoint_files(DEFAULT_MODEL))
    return write_profile(path, checkpoint_sha256=digest, recommended=told, problems={"n": 1000})


@pytest.fixture(scope="module")
def profiled(profile_file: Path) -> Iterator[RunningServer]:
    log = profile_file.with_name("server.log")
    with start_server(args=["--profile", str(profile_file)], log_path=log) as running:
        yield running


@pytest.fixture(scope="module")
def http(profiled: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=profiled.base_url, timeout=120) as client:
        yield client


QUESTION = "Modulo 10, start with 3 and do +4, *7, -2, +9, *3. Where do you end?"


def report_of(http: httpx.Client, path: str, fields: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": QUESTION}]
    body: dict[str, Any] = {"model": "thinkdial-default", **fields}
    if path == "/v1/responses":
        body |= {"input": QUESTION, "max_output_tokens": 200}
    elif path == "/v1/completions":
        body |= {"prompt": QUESTION, "max_tokens": 200}
    else:
        body |= {"messages": messages, "max_tokens": 200}
    response = http.post(path, json=body)
    assert response.status_code == 200, response.text
    reply = response.json()
    return reply["choices"][0]["thinking"] if "choices" in reply else reply["thinking"]


def test_the_profile_is_shown_with_all_levels(http: httpx.Client) -> None:
    shown = http.get("/v1/thinking/profile").raise_for_status().json()
    levels = shown.pop("levels")
    assert levels == {"none": 0, **LEVELS, "max": None}
    assert list(levels) == ["none", *EFFORT_SHARES]
    assert shown["curve"] == document()["curve"]
    assert shown["families"] == document()["families"]
    paths = http.get("/openapi.json").json()["paths"]
    schema = paths["/v1/thinking/profile"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator(schema).validate({**shown, "levels": levels})


@pytest.mark.parametrize(
    ("path", "fields", "level"),
    [
        ("/v1/chat/completions", {"reasoning_effort": "low"}, "low"),
        ("/v1/chat/completions", {"reasoning": {"effort": "high"}}, "high"),
        ("/v1/chat/completions", {"thinking": {"effort": "minimal"}}, "minimal"),
        ("/v1/responses", {"reasoning": {"effort": "medium"}}, "medium"),
        ("/v1/messages", {"output_config": {"effort": "xhigh"}}, "xhigh"),
        ("/v1/messages", {"output_config": {"effort": "max"}}, "max"),
        ("/v1/completions", {"reasoning_effort": "low"}, "low"),
    ],
)
def test_a_level_is_its_measured_budget(
    http: httpx.Client, profile_file: Path, path: str, fields: dict[str, Any], level: str
) -> None:
    report = report_of(http, path, fields)
    curve = read_profile(profile_file).overall
    budget = curve.levels[level]
    assert (report["budget"], report["effort"], report["calibrated"]) == (budget, level, True)
    assert report["expected_accuracy"] == round(curve.accuracy_at(budget), 4)
    assert budget is None or report["tokens"] <= budget


@pytest.mark.parametrize(
    ("thinking", "budget", "expected"),
    [
        ({"target_accuracy": 0.6}, 12, 0.6),
        ({"max_cost": 11}, 12, 0.6),
        ({"effort": "low", "family": "chain"}, 12, 0.35),
        ({"effort": "high", "answer_reserve": 160}, None, None),
    ],
)
def test_targets_costs_and_families(
    http: httpx.Client, thinking: dict[str, Any], budget: int | None, expected: float | None
) -> None:
    report = report_of(http, "/v1/chat/completions", {"thinking": thinking})
    assert report["calibrated"] is True
    if budget is None:
        # What the reply leaves room for, and what that much thinking is worth.
        assert (report["requested_budget"], report["lowered_by"]) == (24, "answer_reserve")
        assert report["budget"] < 24
        assert report["expected_accuracy"] < 0.85
    else:
        assert (report["budget"], report["expected_accuracy"]) == (budget, expected)


def test_a_budget_of_the_clients_own_is_not_called_calibrated(http: httpx.Client) -> None:
    report = report_of(http, "/v1/chat/completions", {"thinking_budget": 12})
    assert "calibrated" not in report
    assert report["expected_accuracy"] == 0.6
    assert report_of(http, "/v1/chat/completions", {"reasoning_effort": "none"})["expected_accuracy"] == 0.2


@pytest.mark.parametrize(
    ("thinking", "param", "said"),
    [
        ({"target_accuracy": 0.99}, "thinking.target_accuracy", "the peak of what was measured, 0.9500"),
        ({"target_accuracy": 0.9, "family": "chain"}, "thinking.target_accuracy", "0.6000"),
        ({"target_accuracy": 0.5, "budget": 8}, "thinking.target_accuracy", "one of them must go"),
        ({"family": "story"}, "thinking.family", "the families that were measured are chain"),
    ],
)
def test_what_the_profile_does_not_hold_is_refused(
    http: httpx.Client, thinking: dict[str, Any], param: str, said: str
) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    response = http.post("/v1/chat/completions", json={"messages": messages, "thinking": thinking})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert said in response.json()["error"]["message"]


def test_the_client_asks_by_name_and_reads_the_report(profiled: RunningServer) -> None:
    with Client(profiled.base_url) as client:
        report = client.chat(QUESTION, target_accuracy=0.6, max_tokens=200).report
        assert report is not None
        assert (report.budget, report.calibrated, report.expected_accuracy) == (12, True, 0.6)
        report = client.chat(QUESTION, effort="low", max_tokens=200).report
        assert report is not None
        assert (report.budget, report.effort) == (10, "low")
        assert client.thinking_profile()["levels"]["low"] == 10


def test_the_benchmark_asks_by_effort(profiled: RunningServer, profile_file: Path, tmp_path: Path) -> None:
    profile = read_profile(profile_file)
    held_out = load("thinkmath", limit=30)
    by_level, peak = ask_levels(profiled.base_url, profile, held_out, "thinkmath", tmp_path, GREEDY)
    assert list(by_level) == [level for level, share in SHARES.items() if share is not None]
    assert {outcome.budget for outcome in peak} == {"max"}
    for level, replies in by_level.items():
        budget = profile.overall.levels[str(level)]
        assert len(replies) == 30
        assert max(outcome.thinking_tokens or 0 for outcome in replies) <= (budget or 0)
    rows = kept(profile, by_level, peak)
    assert rows[0].share < rows[-1].share
    assert len(table(rows, 0.03).splitlines()) == 1 + len(rows)


def test_the_profile_of_another_checkpoint_stops_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from serve import server

    def refused(*flags: str) -> str:
        ours, rest = cli.parse(flags)
        with pytest.raises(SystemExit) as ended:
            server.run(ours, cli.vllm_arguments(str(DEFAULT_MODEL), rest, cpu=True))
        assert ended.value.code == 2
        return capsys.readouterr().err

    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # else vLLM sets it, for all tests to come
    other = str(write_profile(tmp_path / "other.json", checkpoint_sha256="0" * 64))
    said = refused("--profile", other)
    assert f"{'0' * 64} is another checkpoint's" in said
    assert checkpoint_hash(checkpoint_files(DEFAULT_MODEL)) in said
    updates = refused("--profile", other, "--weight-updates", str(tmp_path))
    assert "tells of weights that --weight-updates replaces" in updates
    target = refused("--no-profile", "--default-thinking", '{"target_accuracy": 0.5}')
    assert "thinking.target_accuracy is 0.5, but the server has no thinking profile" in target
