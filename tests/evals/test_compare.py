"""Comparing runs: what is matched, what is found, what is said, and that nothing is found in noise."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import SAMPLED, SETTINGS, direct, fork, no_think, plan, simulated, trace, write

from evals.cli import main
from evals.compare.compare import compare
from evals.compare.tables import as_markdown, terminal
from evals.compare.verdicts import budget_ranges, curve_verdict
from evals.store import Store
from evals.wording import listed


def made(directory: Path, right: int, problems: int = 40, **options: object) -> Path:
    """All right with thinking; the first `right` problems right when cut at 8; none without thinking."""
    records = []
    for number in range(problems):
        of = trace(f"p{number:02}", 20)
        records += [of, fork(of, 8, answer="7" if number < right else "1"), no_think(of.problem, answer="1")]
    return write(directory, records, **options)


def test_differences_are_paired_at_common_budgets(tmp_path: Path) -> None:
    result = compare([made(tmp_path / "a", 10), made(tmp_path / "b", 30, budgets=(0, 8, 16, "max"))])
    (pair,) = result["pairs"]
    assert (pair["a"], pair["b"], pair["problems"]) == ("a", "b", 40)
    assert result["budgets"] == [0, 8, "max"]
    off, eight, most = pair["points"]
    assert (eight["n"], eight["a"], eight["b"]) == (40, 0.25, 0.75)
    assert eight["difference"]["mean"] == 0.5
    assert eight["band_low"] <= eight["difference"]["low"] <= 0.5 <= eight["difference"]["high"]
    assert eight["p_holm"] < 0.05
    # Nothing differs elsewhere: no evidence at all, and yet no proof of equality.
    for point in (off, most):
        assert (point["difference"]["mean"], point["p"], point["p_holm"]) == (0, 1, 1)
        assert point["difference"]["low"] < 0 < point["difference"]["high"]
    # Budgets 0 and 8 are the token axis: half of the difference of 0.5.
    assert pair["area"]["mean"] == pytest.approx(0.25)
    assert pair["verdict"].startswith("b is better than a at budget 8 by 50.0 points; no difference shown at")
    assert any("budget 16" in text for text in result["warnings"])


def test_the_other_way_round_is_the_negative(tmp_path: Path) -> None:
    runs = [made(tmp_path / "a", 10), made(tmp_path / "b", 25)]
    (there,), (back,) = (compare(order)["pairs"] for order in (runs, runs[::-1]))
    for one, other in zip(there["points"], back["points"], strict=True):
        assert one["difference"]["mean"] == -other["difference"]["mean"]
        assert one["difference"]["low"] == pytest.approx(-other["difference"]["high"])
        assert one["p"] == other["p"]
    assert there["area"]["mean"] == -back["area"]["mean"]
    assert back["verdict"].startswith("a is worse than b at budget 8 by 37.5 points")


def test_a_run_does_not_differ_from_itself_but_could_not_prove_it(tmp_path: Path) -> None:
    run = simulated(tmp_path / "run", problems=12, samples=2)
    copy = shutil.copytree(run, tmp_path / "elsewhere" / "run")
    (pair,) = compare([run, copy])["pairs"]
    assert (pair["a"], pair["b"]) == (str(run), str(copy))
    assert all(point["difference"]["mean"] == 0 and point["p_holm"] == 1 for point in pair["points"])
    assert pair["verdict"].startswith("no difference shown at any budget")


def test_noise_is_not_a_difference_and_ability_is(tmp_path: Path) -> None:
    common = {"problems": 60, "samples": 4, "logprobs": False, "confidence": False}
    first = simulated(tmp_path / "first", seed=1, **common)
    again = simulated(tmp_path / "again", seed=2, **common)
    better = simulated(tmp_path / "better", seed=3, ability=3.0, **common)
    result = compare([first, again, better])
    verdicts = {(pair["a"], pair["b"]): pair["verdict"] for pair in result["pairs"]}
    assert list(verdicts) == [("first", "again"), ("first", "better"), ("again", "better")]
    assert verdicts["first", "again"].startswith("no difference shown at any budget, where ")
    assert "better is better than first at" in verdicts["first", "better"]
    # Holm's correction is over the budgets of all pairs.
    points = [point for pair in result["pairs"] for point in pair["points"]]
    smallest = min(points, key=lambda point: point["p"])
    assert smallest["p_holm"] == pytest.approx(min(1, smallest["p"] * len(points)))


def test_problems_are_matched_by_content(tmp_path: Path) -> None:
    a = made(tmp_path / "a", 10, problems=12)
    b = made(tmp_path / "b", 10, problems=10)
    stored = json.loads((b / "manifest.json").read_text())
    stored["plan"]["problems"]["p00"] = "another text"
    (b / "manifest.json").write_text(json.dumps(stored))
    result = compare([a, b])
    assert result["pairs"][0]["problems"] == 9
    first, second = result["warnings"]
    assert "1 problems have the same id in a and b but another text or answer ('p00' is the first)" in first
    assert "a has 12 problems and b 10; they are compared on the 9 in common" in second


def test_warnings_name_what_else_differs(tmp_path: Path) -> None:
    a = made(tmp_path / "a", 10)
    format = SETTINGS["thinking_format"] | {"stop_ids": [1, 2], "stop_text": "enough</think>"}
    b = made(tmp_path / "b", 10, settings={**SAMPLED, "thinking_format": format, "max_model_len": 99})
    text = "\n".join(compare([a, b])["warnings"])
    assert "sampled with different thinking: {'temperature': 0.0} and {'temperature': 0.6" in text
    assert "different early-stop texts: 'stop</think>\\n' and 'enough</think>'" in text
    assert "contexts of different length: 512 and 99" in text
    assert "samples" not in text
    assert compare([a, made(tmp_path / "c", 20)])["warnings"] == []


def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    a = made(tmp_path / "a", 10)
    with pytest.raises(ValueError, match="runs: 1 given; give two or more"):
        compare([a])
    with pytest.raises(ValueError, match="is given twice"):
        compare([a, a])
    with pytest.raises(ValueError, match="no problem in common"):
        compare([a, write(tmp_path / "b", [trace("other", 5)])])
    with pytest.raises(ValueError, match="no budget in common; sweep one of them again with --budgets 0,8"):
        compare([a, write(tmp_path / "c", [trace("p00", 5)], budgets=(16,))])
    effort = [direct("p00", "low")]
    with pytest.raises(ValueError, match="a moves along tokens and d along effort"):
        compare([a, write(tmp_path / "d", effort, {"mode": "direct"}, budgets=("low",))])
    with Store.open(tmp_path / "e", SETTINGS, plan("p00", budgets=(8,)), {}):
        pass
    (pair,) = compare([a, tmp_path / "e"])["pairs"]
    assert (pair["points"], pair["area"], pair["verdict"]) == ([], None, "nothing to compare")


def test_text_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = made(tmp_path / "a", 10), made(tmp_path / "b", 30)
    result = compare([a, b])
    assert "B is better than a at budget 8 by 50.0 points" in terminal(result)
    assert "| 8 | 40 | 25.0 | 75.0 | +50.0 " in as_markdown(result)
    assert main(["compare", str(a), str(b), "--json", "--out", str(tmp_path / "c.html")]) == 0
    assert json.loads(capsys.readouterr().out) == result
    assert "b is better than a" in (tmp_path / "c.html").read_text().lower()
    assert main(["compare", str(a), str(b), "--markdown", "--out", str(tmp_path / "c.json")]) == 0
    assert json.loads((tmp_path / "c.json").read_text()) == result
    assert "# Comparison of a and b" in capsys.readouterr().out
    assert main(["compare", str(a), str(tmp_path)]) == 2
    assert main(["compare", str(a), str(b), "--out", "picture.png"]) == 2
    assert "picture.png is no .html, .md or .json file" in capsys.readouterr().err


def test_terminals_obey_nothing_in_a_run(tmp_path: Path) -> None:
    result = compare([made(tmp_path / "a\x1b[2J", 10), made(tmp_path / "b", 30)])
    result["warnings"] = ["sampled with \x1b]0;title\x07"]
    assert "\x1b" not in terminal(result)


def test_verdicts_in_words() -> None:
    def point(budget: int, mean: float, p: float) -> dict[str, object]:
        return {"budget": budget, "difference": {"mean": mean}, "p_holm": p, "mde": 0.031}

    points = [point(0, 0.01, 0.9), point(8, 0.04, 0.01), point(16, 0.06, 0.01), point(32, 0.09, 0.001)]
    area = {"mean": 0.05, "low": 0.02, "high": 0.08}
    assert curve_verdict("A", "B", points, area) == (
        "B is better than A at budgets 8 to 32 by 4.0 to 9.0 points; no difference shown at budget 0, where "
        "3.1 points could have been shown; over the token budgets together B is 5.0 points better "
        "(95 %: +2.0 to +8.0)"
    )
    assert budget_ranges([0, 8, 16, 32, "max"], [0, 1, 3]) == "budgets 0, 8 and 32"
    assert listed(["1", "2", "3"]) == "1, 2 and 3"


def test_missing_replies_are_left_out_of_pairs(tmp_path: Path) -> None:
    a = made(tmp_path / "a", 10)
    records = [trace("p00", 20), trace("p01", 20), replace(no_think("p00"), key="x")]
    b = write(tmp_path / "b", records)
    (pair,) = compare([a, b])["pairs"]
    assert [(p["budget"], p["n"]) for p in pair["points"]] == [(0, 1), ("max", 2)]
    assert pair["area"] is None
