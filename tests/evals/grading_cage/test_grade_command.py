"""`thinkdial eval grade`: what it prints, and the status it returns."""

import io
import json
from pathlib import Path

import pytest

from evals.cli import main

LINES = [
    {"gold": r"\frac{1}{2}", "response": r"So \boxed{0.5}."},
    {"answer": 7, "response": "<think>It may be 7"},
    {"answer": "7", "response": r"\boxed{8}", "gold": "9"},
]


def _write(path: Path, *lines: object) -> str:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("grader", ["thinkdial", "math-verify", "exact"])
def test_one_answer(grader: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grade", "7", r"It is \boxed{7}.", "--grader", grader]) == 0
    printed = capsys.readouterr().out
    assert "verdict: equal" in printed
    assert "answer:  7" in printed
    assert main(["grade", "7", r"It is \boxed{8}.", "--grader", grader]) == 1
    assert "verdict: different" in capsys.readouterr().out


def test_one_answer_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grade", "--json", "--", "-x", r"\boxed{-x}"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "correct": True,
        "answer": "-x",
        "verdict": "equal",
        "method": "exact",
    }


def test_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grade", "--file", _write(tmp_path / "replies.jsonl", *LINES)]) == 0
    *lines, counts = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["1", "equal"], ["2", "censored"], ["3", "different"]]
    assert counts == "3 graded, 1 equal (33.3%); 1 censored, 1 different"


def test_file_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grade", "--json", "--file", _write(tmp_path / "replies.jsonl", *LINES)]) == 0
    printed = capsys.readouterr()
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert [(row["line"], row["verdict"]) for row in rows] == [
        (1, "equal"),
        (2, "censored"),
        (3, "different"),
    ]
    assert printed.err == "3 graded, 1 equal (33.3%); 1 censored, 1 different\n"


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n" + json.dumps(LINES[0]) + "\n\n"))
    assert main(["grade", "--file", "-"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["1 graded, 1 equal (100.0%)"]


def test_answers_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = {"gold": "7", "response": "\\boxed{\x1b[2J\ud800}"}
    assert main(["grade", "--file", _write(tmp_path / "replies.jsonl", line, line)]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert b"\n2 graded, 0 equal" in printed.encode("utf-8")  # and no surrogate


def test_nothing_to_grade(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grade", "--file", _write(tmp_path / "empty.jsonl")]) == 0
    assert capsys.readouterr().out == "0 graded, 0 equal\n"


@pytest.mark.parametrize(
    "line",
    [{"gold": "7"}, {"response": "7"}, {"gold": None, "response": "7"}, {"gold": 7, "response": 7}, [1]],
)
def test_a_line_that_is_no_answer_is_named(
    line: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grade", "--file", _write(tmp_path / "replies.jsonl", LINES[0], line)]) == 2
    assert "thinkdial eval: line 2: " in capsys.readouterr().err


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.jsonl").write_text("{\n")
    for arguments in (["7"], [], ["7", "7", "--file", "-"], ["--file", str(tmp_path / "absent.jsonl")]):
        assert main(["grade", *arguments]) == 2
        assert capsys.readouterr().err.startswith("thinkdial eval: ")
    assert main(["grade", "--file", str(tmp_path / "broken.jsonl")]) == 2
    assert "line 1: not JSON" in capsys.readouterr().err
