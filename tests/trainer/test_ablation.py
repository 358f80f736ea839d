"""The ablation's numbers: of stores made by hand, and of the shipped model against its own JSON lines."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from made_ablation import Made, MadeStage, write_stage

from evals.budgets import Budget
from evals.store import SAMPLES
from serve.launch import RunningServer
from trainer.ablation.measure import Measured, curve_folder, draw, half_folder, modes_file
from trainer.ablation.modes import WAYS, messages_of
from trainer.ablation.numbers import ablation_numbers
from trainer.ablation.plot import draw as draw_plot
from trainer.ablation.run import FILES, ablate, stages_of
from trainer.ablation.tables import as_markdown
from trainer.cli import main
from trainer.recipe import Recipe
from trainer.recipe.recipe import Ablation

BUDGETS: tuple[Budget, ...] = (0, 4, "max")


def stage(name: str, parent: str | None = None) -> Measured:
    return Measured(name, Path("nowhere"), parent)


def two_stages(out: Path) -> dict[str, Any]:
    """Forty problems; the second stage is right at "max" and at half on all, the first on every other one."""
    ways = {"a": {f"p{i}": True for i in range(40)}, "b": {f"p{i}": i != 0 for i in range(40)}}
    before: dict[str, Made] = {}
    after: dict[str, Made] = {}
    for i in range(40):
        odd = i % 2 == 1
        # One trace of a single token, one that ran out of tokens: neither can be halved.
        length, natural = {0: (1, True), 1: (30, False)}.get(i, (9, True))
        before[f"p{i}"] = Made(length, ["max", "50%"] if odd else [], natural)
        after[f"p{i}"] = Made(length, ["max", "50%", 4] + ([0] if i < 10 else []), natural)
    write_stage(out, "before", MadeStage(before, ways), BUDGETS)
    write_stage(out, "after", MadeStage(after, ways), BUDGETS)
    return ablation_numbers([stage("before"), stage("after", "before")], out)


def test_numbers_of_two_stages(tmp_path: Path) -> None:
    numbers = two_stages(tmp_path)
    before, after = numbers["stages"]
    # The trace that ran out of tokens has no answer: 19 of 20 odd ones are left, and 39 of 40.
    assert [p["accuracy"] for p in before["points"]] == pytest.approx([0, 0, 19 / 40])
    assert [p["accuracy"] for p in after["points"]] == pytest.approx([10 / 40, 1, 39 / 40])
    assert [p["mean_thinking_tokens"] for p in before["points"]] == pytest.approx(
        [0, (1 + 39 * 4) / 40, (1 + 30 + 38 * 9) / 40]
    )
    # At 4 tokens 39 traces are cut, at no limit none.
    cut = {p["budget"]: p["cut"] for p in after["points"]}
    assert (cut[4]["share"], cut[4]["n"], cut["max"]["n"]) == (39 / 40, 39, 0)
    assert cut[4]["no_think_accuracy"] == pytest.approx(9 / 39)
    # Half-cut: p0 has one token and p1 no natural length.
    for found, right, off in ((before, 19 / 38, 0), (after, 1, 8 / 38)):
        half = found["half"]
        assert half["n"] == 38
        assert half["accuracy"] == pytest.approx(right)
        assert half["no_think"]["accuracy"] == pytest.approx(off)
        assert half["gain"]["mean"] == pytest.approx(right - off)
        assert half["gain"]["low"] < half["gain"]["mean"] < half["gain"]["high"]
        assert (half["mean_natural_tokens"], half["mean_kept_tokens"]) == (9, 4)
        modes = found["modes"]
        assert (modes["n"], modes["share"]) == (80, pytest.approx(79 / 80))
        assert [way["share"] for way in modes["ways"]] == pytest.approx([1, 39 / 40])
        assert modes["low"] < 79 / 80 < modes["high"]


def test_differences_are_paired_and_adjusted_together(tmp_path: Path) -> None:
    (row,) = two_stages(tmp_path)["comparisons"]
    assert (row["a"], row["b"]) == ("before", "after")
    differences = {p["budget"]: p["difference"]["mean"] for p in row["points"]}
    assert differences == pytest.approx({0: 10 / 40, 4: 1, "max": 20 / 40})
    assert row["half"]["difference"]["mean"] == pytest.approx(19 / 38)
    # Bonett and Price's limits, written out: 19 of 38 problems gained, none lost.
    centre = 19 / 40
    half = 1.959964 * math.sqrt((21 / 40 - centre**2) / 40)
    assert row["half"]["difference"]["low"] == pytest.approx(centre - half, abs=1e-6)
    # Holm by hand over all four tests of the family.
    tests = [*row["points"], row["half"]]
    ordered = sorted(tests, key=lambda test: test["p"])
    running = 0.0
    for place, test in enumerate(ordered):
        running = max(running, min(1.0, test["p"] * (4 - place)))
        assert test["p_holm"] == pytest.approx(running)
    assert "after is better than before at budgets 0 to max" in row["verdict"]


def test_table_and_picture(tmp_path: Path) -> None:
    numbers = two_stages(tmp_path)
    text = as_markdown(numbers, "Ablation of made")
    assert "| stage | think | no\\_think | 4 |" in text
    assert "| before | 47.5 \\[" in text
    assert "| before | 38 | 50.0 \\[" in text
    picture = draw_plot(numbers)
    assert picture.startswith(b"\x89PNG")
    assert picture == draw_plot(numbers)


def test_stages_are_compared_with_those_they_come_from(tmp_path: Path) -> None:
    for name in "abcd":
        write_stage(
            tmp_path, name, MadeStage({"p": Made(9, [0]), "q": Made(9, ["max"])}, {"w": {"p": True}}), BUDGETS
        )
    stages = [stage("a"), stage("b", "a"), stage("c", "b"), stage("d", "b")]
    pairs = [(row["a"], row["b"]) for row in ablation_numbers(stages, tmp_path)["comparisons"]]
    # The last one also with the first of its line.
    assert pairs == [("a", "b"), ("b", "c"), ("b", "d"), ("a", "d")]


@pytest.mark.slow
def test_a_run_is_measured_along_its_tree(tmp_path: Path) -> None:
    rl = {"optimizer": {"adamw_lr": 1e-3}, "steps": 1, "prompts_per_step": 1, "group_size": 2}
    rl |= {"kind": "general_rl", "rollouts": {"max_tokens": 64}}
    members = {
        "model": {"path": "x/y"},
        "stages": [{**rl, "name": "one"}, {**rl, "name": "two"}, {**rl, "name": "three", "start": "two"}],
        "ablation": {"budgets": [4], "stages": ["one", "three"]},
    }
    recipe = Recipe.model_validate(members)
    (tmp_path / "one" / "checkpoint").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"stages\.three: .* has no checkpoint of it"):
        stages_of(tmp_path, recipe)
    (tmp_path / "three" / "checkpoint").mkdir(parents=True)
    assert [(found.name, found.parent) for found in stages_of(tmp_path, recipe)] == [
        ("one", None),
        ("three", "one"),
    ]


def test_what_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablation", str(tmp_path)]) == 2
    assert "neither a checkpoint (no config.json) nor a run (no recipe.json)" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{}")
    assert main(["ablation", str(tmp_path), "--budgets", "8,50%"]) == 2
    assert "budgets: 8 counts tokens and 50% share" in capsys.readouterr().err
    assert main(["ablation", str(tmp_path), str(tmp_path)]) == 2
    assert "two checkpoints are named" in capsys.readouterr().err


def test_the_last_flag_wins_in_every_way() -> None:
    """What each way says last is what it expects."""
    from evals.problems import load

    problem, before = load("thinkmath", limit=2)
    for way in WAYS:
        turns = messages_of(way, problem, before)
        said = [word for turn in turns if turn["role"] != "assistant" for word in turn["content"].split()]
        flags = [word for word in said if word in ("/think", "/no_think")]
        wanted = (not flags or flags[-1] == "/think") if way.enable_thinking is None else way.enable_thinking
        assert way.thinks == wanted, way.name
        assert problem.problem in turns[-1]["content"]
    assert len({way.name for way in WAYS}) == len(WAYS)


@pytest.mark.slow
def test_the_shipped_model_against_its_own_lines(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is what the stored lines say, counted here anew; a second call draws nothing."""
    settings = Ablation(limit=10, budgets=[8, 24], mode_problems=3)
    draw("shipped", settings, tmp_path, server.base_url)
    model = Measured("shipped", Path("serve/default_model"), None)
    before = {path: path.read_bytes() for path in tmp_path.rglob(SAMPLES)}
    assert len(before) == 2
    # Measured already: no server is started.
    monkeypatch.setattr("trainer.ablation.measure.start_server", None)
    (found,) = ablate([model], settings, tmp_path, "Shipped")["stages"]
    assert {path: path.read_bytes() for path in before} == before
    assert all((tmp_path / name).stat().st_size for name in FILES)

    curve, half = lines(curve_folder(tmp_path, "shipped")), lines(half_folder(tmp_path, "shipped"))
    off = {r["problem"]: right(r) for r in curve if r["kind"] == "no_think"}
    for point in found["points"]:
        budget = point["budget"]
        answers = off if budget == 0 else at(curve, budget)
        assert (point["n"], point["accuracy"]) == (10, pytest.approx(fmean(answers.values())))
    traces = {r["problem"]: r for r in half if r["kind"] == "trace"}
    cut = {r["problem"]: r for r in half if r["kind"] == "fork"}
    assert all(r["thinking_tokens"] == traces[p]["thinking_tokens"] // 2 for p, r in cut.items())
    halved = {p: right(r) for p, r in cut.items() if traces[p]["stop_cause"] == "natural"}
    assert found["half"]["n"] == len(halved) > 0
    assert found["half"]["accuracy"] == pytest.approx(fmean(halved.values()))
    assert found["half"]["gain"]["mean"] == pytest.approx(fmean(halved[p] - off[p] for p in halved))
    replies = json.loads(modes_file(tmp_path, "shipped").read_text())["replies"]
    assert len(replies) == 3 * len(WAYS) == found["modes"]["n"]
    assert found["modes"]["share"] == fmean(r["thought"] == r["thinks"] for r in replies)

    (tmp_path / "checkpoints" / "shipped.json").write_text('{"sha256": "other"}')
    with pytest.raises(ValueError, match="measurements of other weights of shipped"):
        ablate([model], settings, tmp_path, "Shipped")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / SAMPLES).read_text().splitlines()]


def right(row: dict[str, Any]) -> float:
    return float(f"\\boxed{{{row['gold']}}}" in row["answer"])


def at(rows: Iterable[dict[str, Any]], budget: Budget) -> dict[str, float]:
    """Whether the answer of each problem at a budget is right: a fork's, else its trace's."""
    found = {row["problem"]: right(row) for row in rows if row["kind"] == "trace"}
    return found | {r["problem"]: right(r) for r in rows if r["kind"] == "fork" and r["budget"] == budget}
