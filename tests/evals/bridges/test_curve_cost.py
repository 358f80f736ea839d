"""The cost benchmark: its counting on a real vLLM server and on ours, its arithmetic by hand."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clients import Client, ThinkingFormat
from evals.bench.curve_cost import DIRECT, FORKED, NATIVE, Cost, _ours, agreement, ratios, table
from evals.bench.native_curve import NativeCurve
from evals.budgets import Budget
from evals.grading import grade
from evals.problems import Problem, load
from evals.sweep.presets import GREEDY
from evals.sweep.settings import Mode, SweepSettings
from serve import DEFAULT_MODEL
from serve.bench.servers import Contender, start
from serve.launch import RunningServer

BUDGETS: tuple[Budget, ...] = (4, 30, "max")
MAX_TOKENS = 220


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return load("thinkmath", limit=5)


@pytest.fixture(scope="module")
def form(server: RunningServer) -> ThinkingFormat:
    with Client(server.base_url) as client:
        return client.thinking_format()


@pytest.fixture(scope="module")
def native(form: ThinkingFormat, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    contender = Contender("native", "qwen3", native_stop_text=form.stop_text)
    with start(contender, str(DEFAULT_MODEL), (), tmp_path_factory.mktemp("native")) as running:
        yield running


def ours(server: RunningServer, problems: list[Problem], mode: Mode, out: Path) -> Cost:
    settings = SweepSettings(
        "thinkmath", out, BUDGETS, mode=mode, sampling=GREEDY, max_tokens=MAX_TOKENS, logprobs="off"
    )
    return _ours(settings, server.base_url, problems)


@pytest.mark.slow
def test_all_ways_are_counted_alike(
    server: RunningServer,
    native: RunningServer,
    form: ThinkingFormat,
    problems: list[Problem],
    tmp_path: Path,
) -> None:
    """vLLM decodes what ours decodes and the early-stop text; forking draws no thinking token twice."""
    forked = ours(server, problems, "forked", tmp_path / "forked")
    direct = ours(server, problems, "direct", tmp_path / "direct")
    assert forked.correct == direct.correct
    assert forked.thinking == forked.natural_thinking == direct.natural_thinking
    assert forked.forced == direct.forced > 0
    assert forked.decoded < direct.decoded
    (tmp_path / "lm-eval").mkdir()
    curve = NativeCurve(native.base_url, native.model, form, problems, tmp_path / "lm-eval", 4, MAX_TOKENS)
    points = {budget: curve.point(budget) for budget in BUDGETS}
    assert sum(p.thinking_tokens for p in points.values()) == direct.thinking
    assert points["max"].thinking_tokens == direct.natural_thinking
    assert (points["max"].forced, points["max"].leaked) == (0, 0)
    assert {p.over for p in points.values()} == {0}
    inserted = sum(p.forced + p.leaked for p in points.values()) * len(form.stop_ids)
    decoded = sum(p.generated_tokens for p in points.values())
    if not any(p.leaked for p in points.values()):
        assert decoded == direct.decoded + inserted
    golds = {problem.id: problem.answer for problem in problems}
    for budget in (4, "max"):
        right = {
            problem: grade(golds[problem], text).correct for problem, text in points[budget].answers.items()
        }
        assert right == direct.correct[budget]


def made(decoded: int, seconds: float, right: dict[str, bool]) -> Cost:
    return Cost(
        seconds,
        decoded,
        0,
        decoded // 2,
        decoded // 2,
        1,
        0,
        0,
        {8: right, "max": dict.fromkeys(right, True)},
    )


def test_ratios_and_agreement() -> None:
    right = {"a": True, "b": False, "c": True}
    first = {
        FORKED: made(100, 1.0, right),
        DIRECT: made(400, 4.0, right),
        NATIVE: made(500, 2.0, right | {"c": False}),
    }
    other = {
        name: replace(cost, correct={8: {"d": True}, "max": {"d": True}}) for name, cost in first.items()
    }
    second = other | {FORKED: replace(other[FORKED], decoded=200, seconds=3.0)}
    found = ratios([first, second])
    assert found[DIRECT]["decoded"] == {"median": 0.375, "low": 0.25, "high": 0.5}
    assert found[NATIVE]["seconds"] == {"median": 1.0, "low": 0.5, "high": 1.5}
    low, high = agreement([first, second], [8, "max"])
    assert (low["n"], low[FORKED]["accuracy"], low[NATIVE]["accuracy"]) == (4, 0.75, 0.5)
    assert (low[NATIVE]["difference"], low[NATIVE]["alike"], low[DIRECT]["alike"]) == (-0.25, 0.75, 1)
    assert low[NATIVE]["low"] < -0.25 < low[NATIVE]["high"]
    assert high[NATIVE]["difference"] == 0
    result = {
        "settings": {"problems": "made", "limit": 3, "concurrency": 1, "budgets": [8, "max"]},
        "forked_over": found,
        "agreement": [low, high],
    }
    shown = table(result, [first, second])
    assert f"| {NATIVE} | 4.0 | 1,000 | 500 | 0 | 2 | 0 | 0 |" in shown
    assert f"| {DIRECT} | 0.375 (0.250 to 0.500) |" in shown
