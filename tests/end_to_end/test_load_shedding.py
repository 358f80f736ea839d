"""`thinkdial serve --latency-target` under too many requests, measured by `thinkdial eval load`."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from evals.cli import main
from evals.load.store import read_rows
from evals.problems import load
from serve import DEFAULT_MODEL_NAME
from serve.cli import main as serve
from serve.launch import RunningServer, start_server
from tests.serve.made_profile import row, write_profile

pytestmark = pytest.mark.slow

TARGET = 0.4
FLOOR = 2
CURVE = [row(0, 0.5, 0), row(16, 0.6, 14), row(64, 0.95, 35), row("max", 1.0, 40)]


def test_without_a_profile_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        serve(["--latency-target", "2", "--no-profile"])
    assert end.value.code == 2
    assert "make one with thinkdial eval sweep" in capsys.readouterr().err


def test_budgets_are_lowered_under_load_only(server: RunningServer, tmp_path: Path) -> None:
    profile = write_profile(tmp_path / "profile.json", model=DEFAULT_MODEL_NAME, curve=CURVE, families={})
    flags = ["--profile", str(profile), "--latency-target", str(TARGET), "--shedding-floor", str(FLOOR)]
    with start_server(args=flags, log_path=tmp_path / "server.log") as shedding:
        # One after the other nothing is lowered, whatever the target.
        calm = asyncio.run(ask_in_turn(shedding.base_url, 20))
        assert all("lowered_by" not in report for report in calm)
        before = metrics(shedding.base_url)
        assert before["thinkdial_load_allowance"] == 1
        assert before["thinkdial_budget_ceiling"] == float("inf")
        arguments = ["load", "--problems", "thinkmath", "--limit", "40", "--loads", "3", "--seconds", "4"]
        arguments += ["--concurrency", "48", "--latency-target", str(TARGET)]
        arguments += ["--base-url", server.base_url, "--shedding-url", shedding.base_url]
        out = tmp_path / "run"
        assert main([*arguments, "--out", str(out)]) == 0
        after = metrics(shedding.base_url)
    replies = [r for r in read_rows(out) if r["kind"] == "reply" and r["arm"] == "shedding"]
    reports = [reply["report"] for reply in replies if reply["error"] is None]
    lowered = [report for report in reports if report.get("lowered_by") == "load"]
    assert len(reports) == len(replies)
    assert len(lowered) > 0.2 * len(reports)
    assert all(report["budget"] >= FLOOR and report["requested_budget"] is None for report in lowered)
    assert all(report["tokens"] <= report["budget"] for report in lowered)
    assert after["thinkdial_shed_requests_total"] == len(lowered)
    summary = json.loads((out / "load.json").read_text("utf-8"))
    plain, shed = summary["levels"]
    assert plain["lowered"] == 0
    assert shed["mean_thinking_tokens"] < 0.9 * plain["mean_thinking_tokens"]
    # Again: all is there, so nothing is asked.
    stored = (out / "load.jsonl").read_bytes()
    assert main([*arguments, "--out", str(out)]) == 0
    assert (out / "load.jsonl").read_bytes() == stored


async def ask_in_turn(base_url: str, count: int) -> list[dict[str, object]]:
    reports = []
    async with httpx.AsyncClient(base_url=base_url, timeout=60) as http:
        for problem in load("thinkmath", limit=count):
            body = {"messages": [{"role": "user", "content": problem.problem}], "temperature": 0}
            response = await http.post("/v1/chat/completions", json=body)
            reports.append(response.raise_for_status().json()["choices"][0]["thinking"])
    return reports


def metrics(base_url: str) -> dict[str, float]:
    text = httpx.get(f"{base_url}/metrics").text
    families = text_string_to_metric_families(text)
    return {
        sample.name: sample.value for family in families for sample in family.samples if not sample.labels
    }
