"""Reports in a real browser: silent, readable by keyboard, in the dark, on paper and on a phone."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_pages import PIECES, hostile_run
from made_runs import simulated
from playwright.sync_api import Browser, Page, expect

from evals.compare.compare import compare
from evals.compare.page import compare_page
from evals.report.write import write_report

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of a simulated run, of a hostile one, of one along efforts, and a comparison."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("run", "hostile", "effort", "other", "compared")}
    simulated(made["run"], problems=24, crosscheck=0.2)
    simulated(made["effort"], problems=9, samples=1, budgets=("low", "medium", "high"), logprobs=False)
    simulated(made["other"], problems=24, samples=1, crosscheck=0.0, ability=1.0, logprobs=False)
    hostile_run(made["hostile"])
    for name in ("run", "hostile", "effort"):
        write_report(made[name])
    compared = compare_page(compare([made["run"], made["other"]]))
    (made["compared"] / "report.html").write_text(compared, "utf-8")
    return {name: path / "report.html" for name, path in made.items()}


@pytest.fixture
def open_page(browser: Browser, pages: dict[str, Path]) -> Iterator[Open]:
    """Opens a page in a context of its own; at the end nothing was asked for but the files themselves, and
    nothing was said on the console."""
    asked: list[str] = []
    said: list[str] = []
    contexts = []

    def open_page(name: str, address: str = "", **options: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        context.set_default_timeout(5000)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(pages[name].as_uri() + address)
        page.wait_for_selector("svg.plot")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert {url.partition("#")[0] for url in asked} <= {path.as_uri() for path in pages.values()}
    assert said == []


@pytest.mark.parametrize("name", ["run", "hostile", "effort", "compared"])
def test_figures_are_drawn_and_named(open_page: Open, name: str) -> None:
    page = open_page(name)
    for figure in page.locator("[data-figure]").all():
        expect(figure.locator("svg[role=img]").first).to_be_visible()
    unnamed = """() => [...document.querySelectorAll("svg[role=img]")].filter((picture) => {
      const ids = picture.getAttribute("aria-labelledby");
      const names = ids ? ids.split(" ").map((id) => document.getElementById(id)?.textContent) : [];
      return !(picture.getAttribute("aria-label") || (names.length === 2 && names.every(Boolean)));
    }).length"""
    assert page.evaluate(unnamed) == 0


def test_keys_move_through_figures_and_samples(open_page: Open) -> None:
    page = open_page("run")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    chart = page.locator("#curve svg.plot")
    reading = page.locator("#curve output")
    chart.focus()
    page.keyboard.press("Home")
    expect(reading).to_contain_text("at thinking off")
    page.keyboard.press("ArrowRight")
    expect(reading).to_contain_text("at 32 tokens")
    value = page.locator("#curve .entry").first
    expect(value).to_contain_text("[")
    page.get_by_role("radio", name="tokens used").check()
    expect(page.locator("#curve svg.plot")).to_contain_text("mean thinking tokens used")
    page.locator("#curve button.entry").first.press("Enter")
    assert page.locator("#curve svg.plot path.line.all").count() == 0
    page.locator(".samples-list").focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    chosen = page.locator(".samples-list [aria-selected=true]")
    assert chosen.count() == 1
    expect(page.locator(".reader h3")).to_have_text(chosen.locator(".id").inner_text())
    page.locator(".answers button").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    assert page.locator(".answers button[aria-pressed=true]").inner_text() == "32"
    assert "budget=32" in page.url


def test_filters_and_deep_links(open_page: Open) -> None:
    page = open_page("run")
    tally = page.locator(".tally")
    page.get_by_label("outcome", exact=True).select_option("wrong")
    page.get_by_label("at", exact=True).select_option("max")
    page.get_by_label("level", exact=True).select_option("2")
    options = page.locator(".samples-list .option")
    expect(tally).to_contain_text(f"{options.count()} of 96")
    assert 0 < options.count() < 96
    last = options.nth(options.count() - 1)
    last.click()
    name = last.locator(".id").inner_text()
    assert page.locator(".answers tr.chosen td.wrong").count() == 1
    page.locator(".answers button").nth(2).click()
    other = open_page("run", page.url[page.url.index("#") :])
    expect(other.locator(".reader h3")).to_have_text(name)
    assert other.locator(".answers button[aria-pressed=true]").inner_text() == "64"
    expect(other.locator("#samples")).to_be_in_viewport()
    page.get_by_label("find", exact=True).fill("no text says this")
    expect(tally).to_have_text("0 of 96 on this page")
    lost = open_page("run", "#sample=nothing&n=0")
    expect(lost.locator(".reader")).to_contain_text("not among those on this page")


def test_cuts_stand_at_their_tokens(open_page: Open) -> None:
    page = open_page("hostile")
    before = """() => {
      const mark = document.querySelector(".cut-mark");
      let text = "";
      for (let node = mark.previousSibling; node; node = node.previousSibling) text = node.textContent + text;
      return text;
    }"""
    # A fork of 4 keeps the opening tag too.
    assert page.evaluate(before) == "".join(PIECES[:5])
    expect(page.locator(".cut-mark").first).to_contain_text("4 → 7")
    assert page.locator(".tokens .fork").count() == 3
    assert page.locator(".heat-line .cut-line").count() == 2


def test_hostile_text_is_shown_and_does_nothing(open_page: Open) -> None:
    page = open_page("hostile")
    shown = "[...document.querySelectorAll('.tokens span')].map((token) => token.textContent).join('')"
    assert page.evaluate(shown) == "".join(PIECES)
    for _ in range(3):
        page.locator(".samples-list").press("ArrowDown")
    page.get_by_label("outcome", exact=True).select_option("wrong")
    assert page.evaluate("window.pwned") is None
    assert page.locator("img, .reader script, .reader b").count() == 0


def test_theme_follows_the_system_and_is_remembered(open_page: Open) -> None:
    page = open_page("run", color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(17, 21, 27)"
    page.locator("#theme").press("Enter")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    expect(page.locator("#theme")).to_have_text("dark theme")
    page.reload()
    assert page.evaluate(paper) == "rgb(255, 255, 255)"


CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const bytes = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const poor = new Set();
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    const box = node.getBoundingClientRect();
    if (!own || !box.width || node.closest("script, [aria-pressed=false]")) continue;
    const style = getComputedStyle(node);
    const paint = node instanceof SVGElement ? style.fill : style.color;
    const under = [];
    for (let at = node; at; at = at.parentElement) under.unshift(getComputedStyle(at).backgroundColor);
    const [a, b] = [light(bytes([...under, paint])), light(bytes(under))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.add(`${node.tagName}.${node.getAttribute("class")} ${ratio.toFixed(2)}`);
  }
  return [...poor];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(open_page: Open, scheme: str) -> None:
    page = open_page("run", color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    assert page.evaluate(CONTRAST) == []


def test_on_paper_everything_is_open_and_no_control_is_left(open_page: Open) -> None:
    page = open_page("run")
    assert page.locator("details table").first.is_hidden()
    page.emulate_media(media="print")
    for table in page.locator("table").all():
        expect(table).to_be_visible()
    for control in page.locator(".control, nav, summary, #theme").all():
        expect(control).to_be_hidden()
    page.set_viewport_size({"width": 690, "height": 1000})
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") <= 690
    page.emulate_media(media="screen")
    expect(page.locator("details table").first).to_be_hidden()


@pytest.mark.parametrize("name", ["run", "hostile", "compared"])
def test_a_phone_shows_it_without_scrolling_sideways(open_page: Open, name: str) -> None:
    page = open_page(name, viewport={"width": 390, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
