"""Pages as text: self-contained, escaped, well-formed; and which replies they carry."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_pages import HOSTILE, PIECES, hostile_run
from made_runs import SAMPLED, direct, simulated, with_tokens, write

from evals.compare.compare import compare
from evals.compare.page import compare_page
from evals.problems import Problem
from evals.questions import read_questions, store_questions
from evals.report.pages.document import json_block
from evals.report.samples import LETTERS, choose, entropy_letters, page_samples
from evals.report.write import write_report
from evals.summary.outcomes import Outcome, outcomes
from evals.summary.replies import read_run


class Page(HTMLParser):
    """Tags with their attributes, text outside of scripts, and what each script and table holds."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside == "style":
            self.styles.append(data)
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Page:
    run = hostile_run(tmp_path_factory.mktemp("hostile"))
    write_report(run)
    return Page((run / "report.html").read_text("utf-8"))


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_nothing_from_outside_runs_or_loads(hostile: Page) -> None:
    assert len(hostile.scripts) == 2
    assert hostile.all("script") == [{"type": "application/json", "id": "data"}, {}]
    assert not [tag for tag, _ in hostile.tags if tag in ("img", "link", "iframe", "object", "base", "form")]
    assert not [a for _, a in hostile.tags if "src" in a or any(name.startswith("on") for name in a)]
    assert all(a["href"] and a["href"].startswith("#") for a in hostile.all("a"))
    assert not re.search(r"url\(|@import", "".join(hostile.styles))
    (policy,) = (a["content"] for a in hostile.all("meta") if "http-equiv" in a)
    style, script = digest(hostile.styles[0]), digest(hostile.scripts[1])
    assert policy == (
        f"default-src 'none'; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|eval|Function)\b", hostile.scripts[1])


def test_text_is_shown_as_it_is(hostile: Page) -> None:
    assert hostile.text.count(HOSTILE) >= 2
    data = json.loads(hostile.scripts[0])
    entry = data["samples"]["entries"][0]
    assert entry["traces"][0]["text"] == "".join(PIECES)
    assert sum(entry["traces"][0]["lengths"]) == len("".join(PIECES)) + 1  # the emoji counts twice
    assert entry["question"] == f"What is {HOSTILE}\n \udfff?"
    assert "<" not in hostile.scripts[0]


def test_tables_say_what_they_are(hostile: Page) -> None:
    tables = len(hostile.all("table"))
    assert tables > 10
    assert len(hostile.all("caption")) == tables
    assert all(a.get("scope") in ("col", "row") for a in hostile.all("th"))
    ids = [a["id"] for _, a in hostile.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"] for a in hostile.all("a")} == {
        "#main",
        *(f"#{a['id']}" for a in hostile.all("section")),
    }


@settings(max_examples=40)
@given(st.recursive(st.text() | st.integers() | st.none(), st.lists, max_leaves=5))
def test_json_block_is_the_same_data_without_markup(data: Any) -> None:
    text = json_block([data, "\ud800", "</script><!--", "\u2028"])
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert json.loads(text) == [data, "\ud800", "</script><!--", "\u2028"]


def test_wrong_and_flipped_come_first_and_levels_are_spread(tmp_path: Path) -> None:
    run = read_run(simulated(tmp_path, problems=60, samples=2, crosscheck=0.0))
    units: dict[tuple[str, int], list[Outcome]] = {}
    for outcome in outcomes(run):
        units.setdefault((outcome.problem, outcome.sample), []).append(outcome)

    def flipped(unit: tuple[str, int]) -> bool:
        right = [o.correct for o in units[unit]]
        return any(before and not after for before, after in pairwise(right))

    chosen = choose(units, 30)
    assert len(chosen) == len(set(chosen)) == 30
    assert sum(map(flipped, chosen)) >= min(10, sum(map(flipped, units)))
    wrong = [unit for unit in units if not units[unit][-1].correct and not flipped(unit)]
    assert len(set(wrong) & set(chosen)) >= min(10, len(wrong))
    assert {units[unit][0].level for unit in chosen} == {replies[0].level for replies in units.values()}
    assert len({problem for problem, _ in chosen}) >= 20
    assert set(choose(units, 1000)) == set(units)


def test_cuts_of_forks_and_of_the_server(tmp_path: Path) -> None:
    forked = read_run(simulated(tmp_path / "forked", problems=3, samples=1, crosscheck=0.0))
    entry = page_samples(forked, outcomes(forked), 1)["entries"][0]
    cut = next(reply for reply in entry["replies"] if reply["cause"] == "budget")
    # One token more than the budget: the opening tag.
    assert cut["kept"] == cut["budget"] + 1
    assert entry["traces"][0]["lengths"] is not None
    answer = [("7", -0.1), ("<|im_end|>", -0.1)]
    reply = with_tokens(
        direct("a", 8, stop_cause="budget", thinking_tokens=3, thinking="x y z"), [1, 1, 1], answer
    )
    assert reply.logprobs is not None
    reply.logprobs.chosen[4] = None  # what the server put in has no probability
    run = read_run(write(tmp_path / "direct", [reply], {"mode": "direct", **SAMPLED}, budgets=(8,)))
    (row,) = page_samples(run, outcomes(run), 9)["entries"][0]["replies"]
    assert (row["kept"], row["cut"]) == (4, True)


def test_questions_are_added_to(tmp_path: Path) -> None:
    assert read_questions(tmp_path) == {}
    store_questions(tmp_path, [Problem("a", "1 + 1?", "2"), Problem("b", "2 + 2?", "4")])
    store_questions(tmp_path, [Problem("b", "2 + 2?", "4"), Problem("c", "\ud800", "4")])
    assert read_questions(tmp_path) == {"a": "1 + 1?", "b": "2 + 2?", "c": "\ud800"}


def test_entropy_letters() -> None:
    assert entropy_letters([0.0, None, 0.25, 100.0]) == f"A.{LETTERS[10]}_"


def test_comparison(tmp_path: Path) -> None:
    runs = [simulated(tmp_path / name, problems=20, ability=i, crosscheck=0.0) for i, name in enumerate("ab")]
    source = compare_page(compare(runs))
    page = Page(source)
    assert "a against b" in page.text
    figures = [a.get("data-figure") for a in page.all("div") if "data-figure" in a]
    assert figures == ["compared-curves", "compared-differences"]
