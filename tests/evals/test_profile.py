"""The thinking profile: what it recommends, how sure it is, and which checkpoint it speaks of."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from made_runs import direct, fork, no_think, simulated, trace, write

from evals.cli import main
from evals.levels import SHARES, LevelRule
from evals.profile import profile, write_profile
from serve.checkpoint import checkpoint_files, checkpoint_hash
from serve.profile import PROFILE, read_profile


def made(
    directory: Path, right_at: dict[int, int], off: int | None = 10, problems: int = 50, right: int = 50
) -> Path:
    """The first so many problems right when cut at each budget, `right` uncut, `off` without thinking."""
    records = []
    for number in range(problems):
        of = trace(f"p{number:02}", 100, answer="7" if number < right else "1")
        records.append(of)
        records += [fork(of, b, answer="7" if number < n else "1") for b, n in right_at.items()]
        if off is not None:
            records.append(no_think(of.problem, answer="7" if number < off else "1"))
    budgets = ([] if off is None else [0]) + [*right_at, "max"]
    return write(directory, records, budgets=tuple(budgets))


def budgets_of(found: dict[str, Any]) -> dict[str, Any]:
    return {level: row["budget"] for level, row in found["recommended"].items()}


def test_levels_are_shares_of_the_peak(tmp_path: Path) -> None:
    # Of 50: 10 without thinking, then 20, 38, 46 and all 50, so that shares are 40, 45, 48.5, 49.75, 49.95.
    found = profile(made(tmp_path, {8: 20, 16: 38, 32: 46}))
    assert budgets_of(found) == {
        "minimal": 20,  # 16 + 2/8 of 16
        "low": 30,
        "medium": 137,  # no limit lies at 200, twice as long as the traces: 32 + 2.5/4 of 168
        "high": 190,
        "xhigh": 198,
        "max": "max",
    }
    low = found["recommended"]["low"]
    assert low["accuracy"] == pytest.approx((38 + 8 * 14 / 16) / 50)
    assert low["at_least"] < 30 < low["at_most"]
    assert low["share"] == 0.9
    assert "90 % (low), 97 % (medium), 99.5 % (high)" in found["rule"]
    assert "share of the peak accuracy" in found["rule"]


def test_levels_are_what_the_server_makes_of_the_curve(tmp_path: Path) -> None:
    path, found = write_profile(made(tmp_path, {8: 20, 16: 38, 32: 46}))
    read = read_profile(path)
    assert read.overall.levels == {
        level: None if budget == "max" else budget for level, budget in budgets_of(found).items()
    }
    for level, share in SHARES.items():
        assert read.overall.budget_for_accuracy(share * read.overall.peak) == read.overall.levels[level]
        budget = read.overall.levels[level]
        assert read.overall.accuracy_at(budget) == found["recommended"][level]["accuracy"]


def test_levels_may_be_shares_of_the_gain(tmp_path: Path) -> None:
    run = made(tmp_path, {8: 20, 16: 38, 32: 46})
    # The gains are 10, 28, 36 and 40 of 40.
    rule = LevelRule({"minimal": 0.25, "low": 0.7, "medium": 0.9, "high": 0.95}, "gain")
    found = profile(run, rule=rule)
    assert list(budgets_of(found).values())[:4] == [8, 16, 32, 116]
    assert "70 % (low), 90 % (medium), 95 % (high), 99.9 % (xhigh)" in found["rule"]
    assert "peak's gain in accuracy over no thinking" in found["rule"]
    bare = made(tmp_path / "bare", {8: 20}, off=None)
    with pytest.raises(ValueError, match="share_of: gain is over no thinking, which was not measured"):
        profile(bare, rule=LevelRule(of="gain"))
    assert budgets_of(profile(bare))["max"] == "max"


@pytest.mark.parametrize("of", ["peak", "gain"])
def test_thinking_that_gains_nothing_is_not_recommended(tmp_path: Path, of: Literal["peak", "gain"]) -> None:
    found = profile(made(tmp_path, {8: 20, 16: 30}, off=50), rule=LevelRule(of=of))
    assert list(budgets_of(found).values()) == [0, 0, 0, 0, 0, "max"]


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"max": 0.9}, "max has no share; levels that have are minimal, low"),
        ({"low": 0.0}, "low=0 is no share"),
        ({"low": 1.1}, r"low=1\.1 is no share"),
        ({"low": 0.98}, r"low=0\.98 is more than medium=0\.97"),
    ],
)
def test_wrong_shares(shares: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LevelRule(shares)


def test_one_noisy_budget_does_not_decide(tmp_path: Path) -> None:
    # Level from 16 on; one lucky budget and one unlucky one.
    found = profile(made(tmp_path, {8: 20, 16: 45, 24: 46, 32: 43, 40: 45, 48: 45}, problems=50, right=45))
    fitted = [point["fitted"] for point in found["curve"]]
    assert fitted == sorted(fitted)
    assert max(fitted) == pytest.approx(0.9, abs=0.01)
    assert found["recommended"]["medium"]["budget"] <= 16
    assert found["curve"][3]["accuracy"] == 46 / 50  # what was measured stays as it is


def test_accuracy_that_falls_for_sure_is_kept(tmp_path: Path) -> None:
    found = profile(made(tmp_path, {8: 20, 16: 48, 32: 40}, right=25))
    assert [point["fitted"] for point in found["curve"]] == [0.2, 0.4, 0.96, 0.8, 0.5]
    assert found["recommended"]["xhigh"]["budget"] == 16
    assert found["recommended"]["max"] | {"accuracy": 0.5} == found["recommended"]["max"]


def test_thinking_off_stands_for_itself(tmp_path: Path) -> None:
    # Better than a little thinking, as where answers from cut thinking are bad.
    found = profile(made(tmp_path, {8: 10, 16: 40}, off=30))
    assert [point["fitted"] for point in found["curve"]] == [0.6, 0.2, 0.8, 1.0]
    shares = LevelRule({"minimal": 0.5, "low": 0.7})
    assert list(budgets_of(profile(tmp_path, rule=shares)).values())[:2] == [0, 15]


def test_families_have_curves_of_their_own(tmp_path: Path) -> None:
    records = []
    for family, problems, right in (("chain", 20, 5), ("story", 25, 25), ("sequence", 3, 1)):
        for number in range(problems):
            of = trace(f"{family}{number:02}", 40, set="thinkmath", subject=family)
            records += [of, fork(of, 8, answer="7" if number < right else "1")]
    records += [trace(f"aime{n:02}", 40, set="aime24", subject="algebra") for n in range(20)]
    path, found = write_profile(write(tmp_path, records, budgets=(8, "max")))
    assert {family: row["n"] for family, row in found["families"].items()} == {
        "aime24": 20,
        "chain": 20,
        "story": 25,
    }
    chain, story = found["families"]["chain"], found["families"]["story"]
    assert (chain["curve"][0]["accuracy"], story["curve"][0]["accuracy"]) == (0.25, 1.0)
    assert story["recommended"]["xhigh"]["budget"] == 8 < chain["recommended"]["minimal"]["budget"]
    assert found["families"]["aime24"]["curve"][0]["budget"] == "max"
    assert read_profile(path).curve("chain").points[0].accuracy == 0.25


def test_levels_of_other_axes_are_measured_ones(tmp_path: Path) -> None:
    records = [
        direct(f"p{number:02}", level, answer="7" if number < right else "1")
        for level, right in (("none", 10), ("low", 30), ("high", 40))
        for number in range(50)
    ]
    found = profile(write(tmp_path, records, {"mode": "direct"}, budgets=("none", "low", "high")))
    assert budgets_of(found) == dict.fromkeys(SHARES, "high")
    assert budgets_of(profile(tmp_path, rule=LevelRule({"minimal": 0.7})))["minimal"] == "low"


def test_natural_lengths_count_the_unfinished_as_longest(tmp_path: Path) -> None:
    records = [trace(f"p{n:02}", n) for n in range(1, 10)]
    records.append(replace(trace("q", 3, cause="length"), answer=""))
    found = profile(write(tmp_path / "told", records, budgets=("max",)))["natural_thinking_tokens"]
    assert (found["n"], found["unfinished"]) == (10, 1)
    untold = [replace(row, stop_cause=None, finish_reason="length") for row in records[-1:]]
    also = write(tmp_path / "untold", [*records[:-1], *untold], budgets=("max",))
    assert profile(also)["natural_thinking_tokens"] == found
    assert found["quantiles"]["0.5"] == 5
    assert found["quantiles"]["0.9"] == 9
    assert found["quantiles"]["0.95"] is None


def checkpoint(directory: Path) -> Path:
    directory.mkdir()
    for name, text in (("config.json", "{}"), ("model.safetensors", "weights"), ("tokenizer.json", "words")):
        (directory / name).write_text(text)
    (directory / "README.md").write_text("not part of the model")
    return directory


def test_the_checkpoint_is_known_by_what_its_replies_depend_on(tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "model")
    files = checkpoint_files(model)
    assert sorted(files) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert files["config.json"] == hashlib.sha256(b"{}").hexdigest()
    before = checkpoint_hash(files)
    (model / "README.md").write_text("another")
    assert checkpoint_hash(checkpoint_files(model)) == before
    (model / "model.safetensors").write_text("trained")
    assert checkpoint_hash(checkpoint_files(model)) != before
    with pytest.raises(ValueError, match=r"holds no config\.json and weights"):
        checkpoint_files(tmp_path)


def test_profile_is_written_beside_the_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = simulated(tmp_path / "run", problems=15, samples=2)
    model = checkpoint(tmp_path / "model")
    assert main(["profile", str(run), "--checkpoint", str(model)]) == 0
    shown = capsys.readouterr()
    assert "medium: budget " in shown.out
    assert "97 % (medium)" in shown.out
    assert shown.err == ""
    found = json.loads((model / PROFILE).read_text())
    assert found["checkpoint_sha256"] == checkpoint_hash(checkpoint_files(model))
    # The profile is not part of the checkpoint that it speaks of.
    assert main(["profile", str(run), "--checkpoint", str(model)]) == 0
    assert json.loads((model / PROFILE).read_text()) == found
    capsys.readouterr()
    assert found["early_stop"]["ids"] == [70, 71, 91]
    assert [point["budget"] for point in found["curve"]] == [0, 32, 64, 128, 256, 512, "max"]
    assert all(point["low"] <= point["accuracy"] <= point["high"] for point in found["curve"])

    assert (
        main(["profile", str(run), "--shares", "minimal=0.4,low=0.5,medium=0.6", "--share-of", "gain"]) == 0
    )
    assert "50 % (low), 60 % (medium), 99.5 % (high)" in json.loads((run / PROFILE).read_text())["rule"]
    assert main(["profile", str(run), "--shares", "low=2"]) == 2
    with pytest.raises(SystemExit):
        main(["profile", str(run), "--shares", "low"])

    path, bare = write_profile(run)
    assert path == run / PROFILE
    assert (bare["checkpoint_sha256"], bare["checkpoint_files"]) == (None, None)
    assert main(["profile", str(run)]) == 0
    assert "does not say which weights were measured" in capsys.readouterr().err
    assert main(["profile", str(tmp_path / "nothing")]) == 2
    assert main(["profile", str(run), "--out", str(tmp_path / "no" / "such" / "folder.json")]) == 1


def test_a_run_without_replies_has_no_profile(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no reply"):
        profile(write(tmp_path, []))
