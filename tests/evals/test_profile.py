"""The thinking profile: what it recommends, how sure it is, and which checkpoint it speaks of."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_runs import fork, no_think, simulated, trace, write

from evals.cli import main
from evals.profile import profile, write_profile
from evals.recommendation import first_reaching
from serve.checkpoint import checkpoint_files, checkpoint_hash
from serve.profile import PROFILE


def made(directory: Path, right: dict[int, int], off: int | None = 10, problems: int = 50) -> Path:
    """All right at "max"; the first so many problems right when cut at each budget, and without thinking."""
    records = []
    for number in range(problems):
        of = trace(f"p{number:02}", 100)
        records.append(of)
        records += [fork(of, b, answer="7" if number < n else "1") for b, n in right.items()]
        if off is not None:
            records.append(no_think(of.problem, answer="7" if number < off else "1"))
    budgets = ([] if off is None else [0]) + [*right, "max"]
    return write(directory, records, budgets=tuple(budgets))


def test_recommended_budgets_are_shares_of_the_gain(tmp_path: Path) -> None:
    # Without thinking 10 of 50, at most 50: the gains are 10, 28, 36 and 40 of 40.
    found = profile(made(tmp_path, {8: 20, 16: 38, 32: 46}))
    budgets = {name: row["budget"] for name, row in found["recommended"].items()}
    assert budgets == {"low": 16, "medium": 32, "high": "max"}
    assert found["recommended"]["low"]["accuracy"] == 38 / 50
    # 38 of 50 is 70 % of the gain exactly: with other problems it might as well have been the next budget.
    assert (found["recommended"]["low"]["at_least"], found["recommended"]["low"]["at_most"]) == (16, 32)
    assert "70 %, 90 %, 98 % of the peak's gain in accuracy over no thinking" in found["rule"]


def test_without_no_thinking_shares_are_of_the_peak(tmp_path: Path) -> None:
    found = profile(made(tmp_path, {8: 20, 16: 38, 32: 46}, off=None))
    assert [row["budget"] for row in found["recommended"].values()] == [16, 32, "max"]
    assert "no thinking was not measured" in found["rule"]


def test_thinking_that_gains_nothing_is_not_recommended(tmp_path: Path) -> None:
    found = profile(made(tmp_path, {8: 20, 16: 30}, off=50))
    assert [row["budget"] for row in found["recommended"].values()] == [0, 0, 0]
    assert "no thinking is recommended throughout" in found["rule"]


def test_first_reaching() -> None:
    curves = np.array(
        [[0.2, 0.5, 0.8, 1.0], [0.5, 0.4, 0.3, 0.2], [0.0, 1.0, 1.0, 0.9], [0.5, 0.5, 0.5, np.nan]]
    )
    assert first_reaching(curves, 0.7, 0).tolist() == [2, 0, 1, 0]
    assert first_reaching(curves, 0.7, None).tolist() == [2, 0, 1, 0]
    assert first_reaching(curves, 1.0, None).tolist() == [3, 0, 1, 0]


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
