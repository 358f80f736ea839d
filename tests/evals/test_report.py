"""Reports of made runs as files and as text: what they say, and that hostile text cannot break them."""

import json
import re
from pathlib import Path

import pytest
from made_pages import hostile_run
from made_runs import SAMPLED, fork, no_think, simulated, trace, write

from evals.cli import main
from evals.report.headline import headline
from evals.report.plot import positions
from evals.report.tables import Table, plain
from evals.report.tables import markdown as markdown_table
from evals.report.write import FILES, markdown, terminal, write_report


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Twelve problems right at every budget but with thinking off."""
    records = []
    for number in range(12):
        reply = trace(str(number), 4 + 2 * number)
        records += [reply, no_think(str(number), answer="1")]
        if number > 2:
            records.append(fork(reply, 8))
    return write(tmp_path / "run", records)


def test_files_and_terminal(run: Path) -> None:
    summary = write_report(run)
    assert all((run / name).stat().st_size for name in FILES)
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((run / "summary.json").read_text()) == summary
    table = terminal(summary)
    row = next(line.split() for line in table.splitlines() if line.startswith("8 "))
    assert row[:5] == ["8", "12", "100.0", "[75.8,", "100.0]"]
    assert "raises accuracy from 0.0 % with thinking off to 100.0 % at 8 tokens: +100.0 points" in table


def test_markdown_holds_every_table(tmp_path: Path) -> None:
    text = markdown(write_report(simulated(tmp_path, problems=12, crosscheck=0.5)))
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    for name in (
        *("Budget curve", "Shape", "Intervals", "Steps between budgets", "How thinking ended"),
        *("Stop causes", "By level", "By subject", "By set", "Asked and used", "Several samples"),
        *("Calibration", "Entropy", "Forked against direct", "Replies and tokens", "Account", "Settings"),
    ):
        assert name in headings
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_same_store_same_report(tmp_path: Path) -> None:
    run = simulated(tmp_path, problems=6)
    write_report(run)
    first = {path.name: path.read_bytes() for path in run.iterdir()}
    write_report(run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == first


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    run = hostile_run(tmp_path)
    summary = write_report(run)
    table = terminal(summary)
    assert "\x1b" not in table
    text = (run / "report.md").read_text("utf-8")
    assert not re.search(r"(?<!\\)<(script|img)", text)
    assert "\\<img src=x onerror" in text


def test_cells_are_on_one_line_and_aligned() -> None:
    table = Table("t", "", ["name", "n"], [["a|b\n\x1b[31mred\u202e", "1"], ["c", "1,000"]])
    name = "a|b \ufffd[31mred\ufffd"
    assert plain(table).splitlines() == [
        f"{'name'.ljust(len(name))}      n",
        f"{'-' * len(name)}  -----",
        f"{name}      1",
        f"{'c'.ljust(len(name))}  1,000",
    ]
    assert "| a\\|b \ufffd\\[31mred\ufffd | 1 |" in markdown_table(table)


def test_report_of_an_empty_run(tmp_path: Path) -> None:
    summary = write_report(write(tmp_path, []))
    assert "max" in terminal(summary)
    assert headline(summary) == "No reply has been drawn yet."


@pytest.mark.parametrize("budgets", [("low", "medium", "high"), ("off", "on"), ("max",), (0,)])
def test_report_of_any_axis(tmp_path: Path, budgets: tuple[int | str, ...]) -> None:
    run = simulated(tmp_path, problems=6, samples=2, budgets=budgets, crosscheck=0.0)
    summary = write_report(run)
    assert all(name in "".join(terminal(summary)) for name in map(str, budgets))


def test_report_of_one_reply(tmp_path: Path) -> None:
    run = write(tmp_path, [trace("a", 4, sample=0)], settings=SAMPLED, budgets=("max",), samples=4)
    assert headline(write_report(run)) == "Accuracy is 100.0 % without a limit."


def test_headline_says_when_thinking_buys_nothing(tmp_path: Path) -> None:
    records = []
    for number in range(8):
        reply = trace(str(number), 20, answer="6")
        records += [reply, fork(reply, 8, answer="6"), no_think(str(number))]
    text = headline(write_report(write(tmp_path, records)))
    assert "Thinking more does not raise accuracy here: it is 100.0 % with thinking off" in text


def test_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "elsewhere"
    assert main(["report", str(run), "--out", str(out), "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("# model on made")
    assert {path.name for path in out.iterdir()} >= set(FILES)
    assert not (run / "report.html").exists()
    assert main(["report", str(run), "--format", "json", "--samples-in-page", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["points"][1]["budget"] == 8
    assert "3 of the run" in (run / "report.html").read_text("utf-8")
    assert main(["report", str(run), "--samples-in-page", "-1"]) == 2
    assert "--samples-in-page: -1 is negative; give 0 or more" in capsys.readouterr().err
    assert main(["report", str(run), "--out", str(run / "report.md")]) == 1
    assert "report.md: File exists" in capsys.readouterr().err


def test_axis() -> None:
    assert positions([0, 8, 16, 32, "max"]) == [2, 3, 4, 5, 6]
    assert positions([0, 10, 20, 30, "max"]) == [0, 10, 20, 30, 40]
    assert positions([0, "max"]) == [0, 1]
    assert positions([8]) == [8]
    assert positions(["max"]) == [1]
    assert positions(["low", "medium", "high"]) == [0, 1, 2]
