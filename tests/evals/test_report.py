"""Reports of a made run: what they say, and that they need nothing but themselves."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_runs import fork, no_think, trace, write

from evals.plot import positions
from evals.report import terminal, write_report

HOSTILE = "<script>alert('x')</script> $a_b$ & \"quoted\" \\frac{"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    records = []
    for number in range(12):
        problem = f"{number} {HOSTILE}"
        reply = trace(problem, 4 + 2 * number, subject=HOSTILE, level=HOSTILE)
        records += [reply, no_think(problem, answer="1", subject=HOSTILE, level=HOSTILE)]
        if number > 2:
            records.append(fork(reply, 8))
    return write(tmp_path, records)


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_is_self_contained_and_escaped(run: Path) -> None:
    write_report(run)
    source = (run / "report.html").read_text("utf-8")
    page = Text()
    page.feed(source)
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) >= 3
    assert len(page.links) == 2
    for link in page.links:
        kind, _, data = link.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert b"</svg>" in base64.b64decode(data)
    assert not re.search(r"https?://|url\(|@import", source)
    assert "prefers-color-scheme: dark" in source


def test_picture_and_table(run: Path) -> None:
    summary = write_report(run)
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")
    table = terminal(summary)
    row = next(line.split() for line in table.splitlines() if line.split()[0] == "8")
    assert row[:5] == ["8", "12", "100.0", "[75.8,", "100.0]"]
    assert len({len(line) for line in table.splitlines()}) <= 2


def test_same_store_same_report(run: Path) -> None:
    write_report(run)
    first = {path.name: path.read_bytes() for path in run.iterdir()}
    write_report(run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == first


def test_report_of_an_empty_run(tmp_path: Path) -> None:
    summary = write_report(write(tmp_path, []))
    assert "max" in terminal(summary)


def test_axis() -> None:
    assert positions([0, 8, 16, 32, "max"]) == [2, 3, 4, 5, 6]
    assert positions([0, 10, 20, 30, "max"]) == [0, 10, 20, 30, 40]
    assert positions([0, "max"]) == [0, 1]
    assert positions([8]) == [8]
    assert positions(["max"]) == [1]
