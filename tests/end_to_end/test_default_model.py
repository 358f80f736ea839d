"""The shipped model is honestly gradual: what its card claims holds on a smaller draw, through the server."""

from typing import Any

import pytest

from clients import AsyncClient
from evals.problems import load
from evals.summary.summarise import summarise
from evals.sweep.presets import GREEDY
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings
from serve.launch import RunningServer

pytestmark = pytest.mark.slow

LIMIT = 200


@pytest.fixture(scope="module")
def summary(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("curve")
    run_sweep(
        SweepSettings(
            "thinkmath", out, budgets=(0, 8, 16, 24, 32, 40, 48, 64, 96, "max"), limit=LIMIT, sampling=GREEDY
        ),
        server.base_url,
        server.model,
    )
    return summarise(out)


def at(summary: dict[str, Any], budget: int | str) -> dict[str, Any]:
    return next(point for point in summary["points"] if point["budget"] == budget)


def test_thinking_is_worth_far_more_than_none(summary: dict[str, Any]) -> None:
    assert at(summary, "max")["accuracy"] >= 0.9
    assert at(summary, 0)["accuracy"] <= at(summary, "max")["accuracy"] - 0.3
    easy = [row for row in summary["by_level"] if row["group"] in (1, 2) and row["budget"] == 0]
    assert len(easy) == 2
    accuracy = sum(row["accuracy"] * row["n"] for row in easy) / sum(row["n"] for row in easy)
    chance = sum(row["chance"] * row["n"] for row in easy) / sum(row["n"] for row in easy)
    assert accuracy >= chance + 0.2


def test_more_budget_never_hurts(summary: dict[str, Any]) -> None:
    assert len(summary["points"]) >= 6
    for change in summary["differences"]:
        # No fall that the paired interval can tell from none.
        assert change["high"] >= 0, change
    low, high = at(summary, 0)["accuracy"], at(summary, "max")["accuracy"]
    between = [p for p in summary["points"] if low + 0.05 < p["accuracy"] < high - 0.05]
    assert len(between) >= 2


def test_cut_traces_answer(summary: dict[str, Any]) -> None:
    often_cut = [point for point in summary["points"] if 0.3 <= (point["cut"]["share"] or 0) <= 0.7]
    assert often_cut
    best = max(often_cut, key=lambda point: point["cut"]["accuracy"] - point["cut"]["chance"])
    assert best["cut"]["accuracy"] >= best["cut"]["chance"] + 0.25
    assert best["cut"]["accuracy"] >= best["cut"]["no_think_accuracy"]


def test_replies_end_by_themselves_with_a_boxed_answer(summary: dict[str, Any]) -> None:
    replies = sum(point["n"] for point in summary["points"])
    ended = sum(point["n"] * point["ended_answered_share"] for point in summary["points"])
    assert ended / replies >= 0.98


async def test_no_think_flags_are_obeyed(server: RunningServer) -> None:
    async with AsyncClient(server.base_url) as client:
        for problem in load("thinkmath", limit=40):
            reply = await client.chat(f"{problem.problem} /no_think", temperature=0)
            assert not reply.thinking.strip()
            assert "\\boxed{" in reply.answer
