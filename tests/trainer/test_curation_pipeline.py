"""`thinkdial train curate`: real tries of the default model, what is written, and going on after a kill."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from trainer.commands import curate as command
from trainer.curation.config import load_curation
from trainer.curation.pipeline import curate
from trainer.recipe.data import Source
from trainer.sources import open_sources

MODEL = Path(__file__).parents[2] / "serve" / "default_model"
CONFIG = f"""
[[sources]]
kind = "thinkmath"
limit = 12
levels = {{ 1 = 1, 4 = 1 }}
[model]
checkpoint = "{MODEL}"
rollouts = {{ backend = "transformers", max_tokens = 96, answer_tokens = 16 }}
[[steps]]
kind = "lucky"
[[steps]]
kind = "guessable"
samples = 3
most = 1
[[steps]]
kind = "pass_rate"
samples = 2
low = 0.5
high = 1.0
[[steps]]
kind = "curriculum"
by = "pass_rate"
"""


def written(path: Path, content: str = CONFIG) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_tries_decide_and_a_killed_run_goes_on(tmp_path: Path) -> None:
    config = load_curation(written(tmp_path / "c.toml"))
    report = curate(config, tmp_path / "whole")
    kept, dropped = rows(tmp_path / "whole" / "kept.jsonl"), rows(tmp_path / "whole" / "dropped.jsonl")
    assert len(kept) + len(dropped) == report["sources"] == 12
    guesses = rows(tmp_path / "whole" / "samples-no_think-1.jsonl")
    assert len(guesses) == 12 * 3
    guessed = [row for row in dropped if row["kind"] == "guessable"]
    assert guessed
    # Level 1 is one step, which the model does in its head; level 4 is not.
    assert {row["row"]["level"] for row in guessed} <= {1, 4}
    assert sum(row["row"]["level"] == 1 for row in guessed) > sum(row["row"]["level"] == 4 for row in guessed)
    for row in guessed:
        assert row["evidence"]["right"] > 1
        assert row["row"]["answer"] in row["evidence"]["guess"]
    assert all(0.5 <= row["pass_rate"] <= 1 and row["level"] in (1, 3) for row in kept)

    # A kill: some tries and half a line of another are there, nothing else.
    killed = tmp_path / "killed"
    killed.mkdir()
    lines = (tmp_path / "whole" / "samples-no_think-1.jsonl").read_text(encoding="utf-8").splitlines(True)
    (killed / "samples-no_think-1.jsonl").write_text("".join(lines[:17]) + lines[17][:20], encoding="utf-8")
    said: list[str] = []
    curate(config, killed, said.append)
    assert any("/19 replies" in line for line in said)
    for name in ("kept.jsonl", "dropped.jsonl", "report.json", "samples-think-1.jsonl"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    said.clear()
    curate(config, killed, said.append)
    assert not any("replies" in line for line in said)

    stream = open_sources([Source(kind="jsonl", path=killed / "kept.jsonl")], 0)
    assert stream.size == len(kept)
    examples = {stream.at(index).problem.id: stream.at(index) for index in range(len(kept))}
    for row in kept:
        example = examples[row["id"]]
        assert (example.thinking, example.problem.level) == (row["thinking"], row["level"])

    other = load_curation(written(tmp_path / "d.toml", "seed = 1\n" + CONFIG))
    with pytest.raises(ValueError, match="holds replies sampled with another seed"):
        curate(other, killed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("limit = 12", ""), r"sources\.0\.limit: thinkmath is endless"),
        (("limit = 12", "limit = 12\nweight = 2"), r"sources\.0\.weight: all of each source is read"),
        (("low = 0.5", "low = 2"), r"steps\.2\.pass_rate\.low"),
        (("low = 0.5\nhigh = 1.0", "low = 0.5\nhigh = 0.2"), "low 0.5 is above high 0.2"),
        (('"lucky"', '"luck"'), r"steps\.0.*'luck'"),
        (
            ('kind = "pass_rate"\nsamples = 2\nlow = 0.5\nhigh = 1.0', 'kind = "balance"\nmost = 9'),
            r"steps\.3\.by",
        ),
        (("[model]", "[mode]"), "mode: Extra inputs"),
    ],
)
def test_errors_name_the_member(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in CONFIG
    with pytest.raises(ValueError, match=message):
        load_curation(written(tmp_path / "c.toml", CONFIG.replace(*change)))


def test_steps_that_sample_need_a_model(tmp_path: Path) -> None:
    config = '[[sources]]\nkind = "thinkmath"\nlimit = 3\n[[steps]]\nkind = "guessable"\n'
    with pytest.raises(ValueError, match="model: step 'guessable' samples"):
        load_curation(written(tmp_path / "c.toml", config))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems = [
        {"id": 1, "problem": "What is one and one and one and one and two?", "answer": "6", "subject": "a"},
        {"id": 2, "problem": "What is one and one and one and one and two?", "answer": "6", "subject": "a"},
        {"id": 3, "problem": "Prove that there is no largest prime.", "answer": "1"},
        {"id": 4, "problem": "Name a prime.", "answer": "", "response": "2"},
        {
            "id": 5,
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "2+2?"}],
            "answer": "4",
        },
    ]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems), encoding="utf-8")
    steps = "".join(f'[[steps]]\nkind = "{kind}"\n' for kind in ("duplicates", "forms", "verifiable"))
    config = written(
        tmp_path / "c.toml", f'[[sources]]\nkind = "jsonl"\npath = "{tmp_path}/own.jsonl"\n{steps}'
    )
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    options = parser.parse_args(["curate", str(config), "--out", str(tmp_path / "out")])
    assert options.run(options) == 0
    printed = capsys.readouterr().out
    assert "duplicates                 5       4        1   1 the same words" in printed
    assert "all                        5       2        3" in printed
    assert [row["id"] for row in rows(tmp_path / "out" / "kept.jsonl")] == ["own/1", "own/5"]
    assert [row["reason"] for row in rows(tmp_path / "out" / "dropped.jsonl")] == [
        "the same words",
        "proof",
        "no answer",
    ]
    stream = open_sources([Source(kind="jsonl", path=tmp_path / "out" / "kept.jsonl")], 0)
    assert {stream.at(index).problem.messages for index in (0, 1)} == {
        (),
        (("system", "s"), ("user", "2+2?")),
    }
    options = parser.parse_args(["curate", str(tmp_path / "absent.toml"), "--out", str(tmp_path / "out")])
    assert options.run(options) == 2
    assert "absent.toml' cannot be read" in capsys.readouterr().err
