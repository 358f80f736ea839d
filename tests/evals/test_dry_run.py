"""A dry run asks for no completion, and what it says is what the run then draws."""

import re
from pathlib import Path
from typing import Any

import pytest
from scripted_api import ScriptedAPI

from evals.account import Prices
from evals.cli import main
from evals.problems import Problem
from evals.store import read_records
from evals.sweep.dry_run import dry_run
from evals.sweep.estimate import Amount, Lengths, forecast, stored_lengths, total
from evals.sweep.presets import GREEDY
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings
from serve.launch import RunningServer

PROBLEMS = [Problem(str(number), "1+1", "2") for number in range(10)]
SIZES = [20.0] * 10


def settings(out: Path, *budgets: Any, **fields: Any) -> SweepSettings:
    fields = {"sampling": GREEDY, "limit": 8, "max_tokens": 220, **fields}
    return SweepSettings("thinkmath", out, budgets, **fields)


def test_by_hand(tmp_path: Path) -> None:
    """Ten problems, traces of 10 and 30 thinking tokens, answers of 5, no early-stop text."""
    lengths = Lengths([10, 30], 5.0, "")
    asked = settings(tmp_path, 0, 20, 40, "max", max_tokens=100)
    plan = forecast(asked, PROBLEMS, SIZES, None, lengths)
    assert plan.expected == {
        "no_think": Amount(10, 200, 50),
        "trace": Amount(10, 200, 250),
        "fork": Amount(5, 5 * 40, 25),
    }
    assert plan.most == {
        "no_think": Amount(10, 200, 1000),
        "trace": Amount(10, 200, 1000),
        "fork": Amount(20, 10 * 40 + 10 * 60, 10 * 80 + 10 * 60),
    }
    direct = forecast(settings(tmp_path, 0, 20, 40, "max", mode="direct"), PROBLEMS, SIZES, None, lengths)
    assert direct.expected == {"direct": Amount(40, 800, 50 + 10 * (15 + 5) + 2 * 10 * (20 + 5))}
    endless = forecast(asked, PROBLEMS, SIZES, None, Lengths([5000], 5.0, ""))
    assert endless.expected
    assert endless.expected["trace"] == endless.most["trace"]
    unknown = forecast(settings(tmp_path, 8, max_tokens=None), PROBLEMS, SIZES, None, None)
    assert unknown.expected is None
    assert total(unknown.most) == Amount(20, 200 + 280, None)


def test_it_tells_what_the_run_then_draws(server: RunningServer, tmp_path: Path) -> None:
    asked = settings(tmp_path, 0, 4, 16, "max", crosscheck=0.4, confidence=True, prices=Prices(1, 2))
    before = dry_run(asked, server.base_url)
    assert "counted by the server" in before
    assert "expected: unknown" in before
    assert not tmp_path.joinpath("samples.jsonl").exists()
    run_sweep(asked, server.base_url)
    records = list(read_records(tmp_path)[0].values())
    lengths = stored_lengths(tmp_path)
    assert lengths is not None
    text = dry_run(asked, server.base_url)
    expected = {
        kind: float(count.replace(",", ""))
        for kind, count in re.findall(r"^ *(\w+)  +<= [\d,]+ \(about ([\d,]+)\)", text, re.MULTILINE)
    }
    for kind in ("no_think", "trace", "fork", "direct"):
        assert expected[kind] == sum(record.kind == kind for record in records), kind
    assert f"already stored: {len(records)} replies" in text
    assert re.search(r"forked generates 0\.\d\d of that", text)
    assert re.search(r"cost: \d\.\d\d USD at most, \d\.\d\d USD expected", text)
    prompts = sum(record.prompt_tokens or 0 for record in records if record.kind == "trace")
    assert f"about {prompts})" in text


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "--problems", "thinkmath", "--limit", "5", "--budgets", "0,64,max", "--samples", "2"]
    command += [
        "--out",
        str(tmp_path / "run"),
        "--dry-run",
        "--expect-thinking",
        "100",
        "--max-tokens",
        "500",
    ]
    assert main([*command, "--price-out", "1000000"]) == 0
    text = capsys.readouterr().out
    assert "5 problems x 2 samples at budgets 0,64,max, forked; no server was asked" in text
    assert "estimated: 3.5 characters a token" in text
    assert re.search(r"trace +<= 10 \(about 10\) .* <= 5,000 \(about 2,000\)", text)
    assert re.search(r"cost: [\d.]+ USD at most, 4000.00 USD expected", text)
    assert not (tmp_path / "run").exists()
    with ScriptedAPI() as api:
        command += ["--mode", "direct", "--base-url", api.base_url]
        assert main(command) == 0
        assert "m at http" in capsys.readouterr().out
        assert [body for body in api.bodies if "max_tokens" in body] == []
