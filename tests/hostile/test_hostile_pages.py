"""Pages and Markdown made of hostile words, in a real browser: nothing of them runs, loads or leads away.

The pages of runs and comparisons have their like in tests/evals/test_report_browser.py, the playground in
tests/serve/test_playground.py; here are the others: load tests, reproductions, and Markdown as it is shown.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from evals.compare.compare import compare
from evals.compare.page import compare_page
from evals.load.report import write_load_report
from evals.load.store import LOAD
from evals.report.pages.document import Section, document
from evals.report.tables import Table, markdown
from evals.report.write import markdown as report_markdown
from evals.report.write import write_report
from tests.evals.made_pages import hostile_run
from tests.trainer.test_reproduce_page import QUICK
from tests.trainer.test_reproduce_page import at as reproduction
from trainer.ablation.tables import as_markdown as ablation_markdown
from trainer.reproduce.page import write_page
from trainer.reproduce.steps import Folders, plan

__all__ = ["reproduction"]

MARKS = [
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=2>",
    "<svg onload=window.pwned=3>",
    "javascript:window.pwned=4",
    '" onmouseover="window.pwned=5',
    "' autofocus onfocus='window.pwned=6",
    "<!--<script>",
    "]]><script>window.pwned=7</script>",
    "</title></style></textarea><iframe srcdoc='<script>parent.pwned=8</script>'>",
    "{{constructor.constructor('window.pwned=9')()}}",
    "${window.pwned=10}",
    "\u2028window.pwned=11\u2029",
    "&lt;script&gt;window.pwned=12&lt;/script&gt;",
    "data:text/html,<script>window.pwned=13</script>",
    "\x00<script\x00>window.pwned=14</script>",
    "[x](javascript:window.pwned=15) | a | b |\n| c",
    "![x](http://127.0.0.1:1/leak) <http://127.0.0.1:1/leak>",
    "\n# Heading\n- [ ] list\n```\n",
]
HOSTILE = " ".join(MARKS)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may ask for nothing but itself."""
    context = browser.new_context()
    context.set_default_timeout(10_000)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
    yield page
    assert page.evaluate("window.pwned") is None
    assert page.locator("iframe, object, embed, form, base").count() == 0
    links = page.eval_on_selector_all("a", "all => all.map(a => a.getAttribute('href'))")
    assert all(link.startswith("#") for link in links)
    handlers = "all => all.flatMap(n => n.getAttributeNames()).filter(name => name.startsWith('on'))"
    assert page.eval_on_selector_all("*", handlers) == []
    own = page.url.partition("#")[0]
    assert {url.partition("#")[0] for url in asked if not url.startswith("data:image/png")} == {own}
    context.close()


def visit(page: Page, path: Path) -> None:
    page.goto(path.as_uri())
    page.wait_for_load_state()
    # What waits for a pointer or for attention gets it.
    for summary in page.locator("summary").all():
        summary.click()
    page.keyboard.press("Tab")
    page.mouse.move(200, 300)


def test_every_part_of_a_document(page: Page, tmp_path: Path) -> None:
    table = Table(HOSTILE, HOSTILE, [HOSTILE, "b"], [[HOSTILE, HOSTILE], *([mark, mark] for mark in MARKS)])
    section = Section("s", HOSTILE, HOSTILE, HOSTILE, shown=[table], tables=[table], picture=(HOSTILE, b"no"))
    made = document(
        kind=HOSTILE,
        title=HOSTILE,
        headline=HOSTILE,
        setup=HOSTILE,
        sections=[section],
        data={HOSTILE: [HOSTILE]},
        footer=HOSTILE,
    )
    (tmp_path / "page.html").write_text(made, "utf-8")
    visit(page, tmp_path / "page.html")
    assert page.locator("img").count() == 1
    for mark in MARKS[:6]:
        assert mark in page.locator("body").inner_text()


def test_a_comparison_of_hostile_runs(page: Page, tmp_path: Path) -> None:
    names = ("a <script>window.pwned=1<", "b <img src=x onerror=window.pwned=2>")
    runs = [hostile_run(tmp_path / name) for name in names]
    (tmp_path / "page.html").write_text(compare_page(compare(runs)), "utf-8")
    visit(page, tmp_path / "page.html")


def test_a_load_test_of_hostile_names(page: Page, tmp_path: Path, reproduction: Folders) -> None:
    rows = (reproduction.load / LOAD).read_text().replace('"made"', json.dumps(HOSTILE))
    rows = rows.replace('"subject":"s"', f'"subject":{json.dumps(HOSTILE)}')
    assert "pwned" in rows
    (tmp_path / LOAD).write_text(rows)
    write_load_report(tmp_path)
    visit(page, tmp_path / "load.html")
    assert "pwned" in page.locator("body").inner_text()


def test_a_reproduction_of_hostile_steps(page: Page, tmp_path: Path, reproduction: Folders) -> None:
    steps = [replace(step, line=f"{step.line} {HOSTILE}") for step in plan(reproduction.out, QUICK, 9)]
    visit(page, write_page(reproduction, steps, {step.name: 61 for step in steps}))
    assert "pwned" in page.locator("body").inner_text()


MARKUP = re.compile(r"(?<!\\)(<|\[|!\[|`|\*|_)")


def cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line)


def test_a_table_of_markdown_keeps_its_shape() -> None:
    table = Table(HOSTILE, HOSTILE, [HOSTILE, "b"], [[mark, HOSTILE] for mark in MARKS])
    lines = [line for line in markdown(table).splitlines() if line.startswith("| ")]
    assert len(lines) == len(MARKS) + 2
    assert {len(cells(line)) for line in lines} == {4}
    for line in markdown(table).splitlines():
        assert not MARKUP.search(line), line


def test_reports_in_markdown(tmp_path: Path, reproduction: Folders) -> None:
    text = report_markdown(write_report(hostile_run(tmp_path)))
    numbers = json.loads((reproduction.ablation / "ablation.json").read_text().replace("base", "<script>a|b"))
    texts = [text, ablation_markdown(numbers, HOSTILE)]
    for told in texts:
        for line in told.splitlines():
            bare = re.sub(r"^\*\*|\*\*$|^!\[[\w ,:'-]+\]\([\w.-]+\)$", "", line)
            assert not MARKUP.search(bare), line
