"""Budgets as shares of each trace's natural length, against the real server."""

from pathlib import Path

import pytest

from clients import Client
from evals.budgets import Budget
from evals.problems import load
from evals.records import Record
from evals.report.write import FILES, write_report
from evals.store import read_records
from evals.summary.outcomes import outcomes
from evals.summary.replies import read_run
from evals.sweep.presets import GREEDY
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings
from serve.launch import RunningServer

PROBLEMS = 8
SHARES: tuple[Budget, ...] = (0, "30%", "50%", "max")


@pytest.fixture(scope="module")
def tokens(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> SweepSettings:
    """A finished sweep over tokens, to take traces from."""
    out = tmp_path_factory.mktemp("shares") / "tokens"
    settings = SweepSettings("thinkmath", out, (0, 8, "max"), limit=PROBLEMS, sampling=GREEDY)
    run_sweep(settings, server.base_url)
    return settings


@pytest.fixture(scope="module")
def shares(server: RunningServer, tokens: SweepSettings) -> SweepSettings:
    """The same traces cut at shares of their own length."""
    settings = SweepSettings(
        "thinkmath",
        tokens.out.with_name("shares"),
        SHARES,
        limit=PROBLEMS,
        sampling=GREEDY,
        reuse=tokens.out,
    )
    result = run_sweep(settings, server.base_url)
    forks = [r for r in _records(settings) if r.kind == "fork"]
    # Traces and replies without thinking were copied: only answers were drawn.
    assert result.generated_tokens == sum(r.generated_tokens or 0 for r in forks)
    assert result.replies == len(forks) == 2 * PROBLEMS
    return settings


def test_each_trace_is_cut_at_its_own_length(
    server: RunningServer, tokens: SweepSettings, shares: SweepSettings
) -> None:
    before = {r.problem: r for r in _records(tokens) if r.kind == "trace"}
    problems = {p.id: p for p in load("thinkmath", limit=PROBLEMS)}
    with Client(server.base_url) as client:
        for record in _records(shares):
            if record.kind == "trace":
                assert record == before[record.problem]
            elif record.kind == "fork":
                share = {"30%": 0.3, "50%": 0.5}[str(record.budget)]
                limit = int(share * (before[record.problem].thinking_tokens or 0) + 1e-9)
                assert record.thinking_tokens == max(1, limit)
                # The server's own cut at that many tokens gives the same answer.
                reply = client.chat(problems[record.problem].problem, budget=limit, temperature=0)
                assert reply.answer.strip() == record.answer.strip()


def test_outcomes_and_report(shares: SweepSettings) -> None:
    found = outcomes(read_run(shares.out))
    assert len(found) == PROBLEMS * len(SHARES)
    assert all(o.forced == (o.budget in ("30%", "50%")) for o in found)
    summary = write_report(shares.out)
    assert summary["axis"] == "share"
    assert [p["budget"] for p in summary["points"]] == list(SHARES)
    assert summary["curve"]["area"] is None
    assert all((shares.out / name).stat().st_size for name in FILES)
    assert not summary["failed"]["incomplete_problems"]


def test_a_finished_sweep_over_shares_draws_nothing_more(
    server: RunningServer, shares: SweepSettings
) -> None:
    assert run_sweep(shares, server.base_url).replies == 0


def test_what_shares_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode: direct cannot measure 0, 50%"):
        SweepSettings("thinkmath", tmp_path, (0, "50%"), mode="direct")
    with pytest.raises(ValueError, match="crosscheck"):
        SweepSettings("thinkmath", tmp_path, (0, "50%"), crosscheck=0.1)


def _records(settings: SweepSettings) -> list[Record]:
    found, failures = read_records(settings.out)
    assert not failures
    return list(found.values())
