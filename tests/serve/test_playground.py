"""The page at `/` in a real browser on the shipped model: asked, read, copied from, attacked, looked over."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from serve.launch import RunningServer
from serve.playground import FILES, POLICY
from tests.browsing import PATIENCE, violations

QUESTION = "Modulo 10, compute (((((7*5)-4)*3)*9)+3)*9."
PWN = '<img src=x onerror="window.pwned = 1">'
MOST_BYTES = 150_000

Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, server: RunningServer) -> Iterator[Open]:
    """Opens the page in a context of its own. At the end no other host was asked anything, and the console
    was silent, but for the browser's own lines on errors of the API, which the page tells in words.
    """
    asked: list[str] = []
    said: list[str] = []
    contexts = []

    def open_page(**options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda it: None if "/v1/" in it.location["url"] else said.append(it.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{server.base_url}/")
        page.locator(".column").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert asked
    assert [url for url in asked if not url.startswith(f"{server.base_url}/")] == []
    assert said == []


def budget_field(page: Page, letter: str) -> Locator:
    return page.get_by_label(f"Thinking tokens of budget {letter}")


def ask(page: Page, question: str, budget: str, *, max_tokens: int = 200) -> None:
    """Ask at one budget, greedily, and wait for the end of the reply."""
    page.get_by_label("Question", exact=True).fill(question)
    page.get_by_text("Sampling and early-stop text").click()
    page.get_by_label("temperature").fill("0")
    page.get_by_label("most tokens of the reply").fill(str(max_tokens))
    budget_field(page, "A").fill(budget)
    budget_field(page, "A").press("Tab")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".cause")).not_to_be_empty()


def shown(page: Page, part: str) -> str:
    """Text of a part of the only reply, less the page's own label in it."""
    return page.locator(f".{part}").evaluate(
        """(node) => {
          const copy = node.cloneNode(true);
          copy.querySelector(".tag")?.remove();
          return copy.textContent;
        }"""
    )


def test_its_files_are_few_and_strict(server: RunningServer) -> None:
    total = 0
    for path in FILES:
        response = httpx.get(server.base_url + path)
        assert response.status_code == 200
        assert response.headers["content-security-policy"] == POLICY
        assert response.headers["x-content-type-options"] == "nosniff"
        total += len(response.content)
    assert {"/", "/playground/main.js", "/playground/page.css"} <= set(FILES)
    assert total < MOST_BYTES
    assert "unsafe" not in POLICY
    assert httpx.get(f"{server.base_url}/playground/__init__.py").status_code == 404


def test_first_paint(open_page: Open, browser: Browser, server: RunningServer) -> None:
    pages = {"/": open_page(), "/version": browser.new_page()}
    painted = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    times: dict[str, list[float]] = {path: [] for path in pages}
    for path in [*times] * 3:
        pages[path].goto(server.base_url + path)
        pages[path].wait_for_function(painted)
        times[path].append(pages[path].evaluate(painted))
    pages["/version"].close()
    # On a busy machine a line of plain text takes its time too.
    assert min(times["/"]) < 1000 + min(times["/version"])


def test_a_cut_reply_is_what_the_api_says(open_page: Open, server: RunningServer) -> None:
    page = open_page()
    page.evaluate(
        """() => {
          window.spoken = [];
          const status = document.querySelector("#status");
          const observer = new MutationObserver(() => window.spoken.push(status.textContent));
          observer.observe(status, { childList: true });
        }"""
    )
    ask(page, QUESTION, "8")
    body = {
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": 200,
        "thinking": {"budget": 8},
    }
    reply = httpx.post(f"{server.base_url}/v1/chat/completions", json=body, timeout=60).json()["choices"][0]
    assert shown(page, "trace").split() == reply["message"]["reasoning"].split()
    assert shown(page, "answer") == reply["message"]["content"].lstrip()
    report = reply["thinking"]
    assert report["stop_cause"] == "budget"
    expect(page.locator(".gauge .number")).to_have_text("8 of 8 tokens")
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "8")
    expect(page.locator(".cause")).to_have_text(
        "Thinking was cut at its budget of 8 tokens. "
        f"The server inserted {report['inserted_tokens']} tokens so that it answers."
    )
    assert page.locator(".trace .token").count() == 8
    expect(page.locator(".trace ins")).to_contain_text("inserted by the server")
    expect(page.locator(".trace ins")).to_contain_text("Considering the limited time by the user")
    spoken = page.evaluate("window.spoken")
    assert spoken[0] == "Asked at 8 tokens."
    assert reply["message"]["content"].strip() in spoken[-1]
    assert len(spoken) == 2, "a screen reader is not to hear every token"


def test_shades_tell_the_entropy(open_page: Open) -> None:
    page = open_page()
    ask(page, QUESTION, "no limit")
    expect(page.locator(".cause")).to_contain_text("by itself")
    tokens = page.locator(".trace .token")
    used = int(re.findall(r"\d+", page.locator(".gauge .number").inner_text())[0])
    assert tokens.count() == used > 8
    assert page.locator(".trace ins").count() == 0
    paint = """(nodes) => nodes.map((node) => [
      Number(node.style.getPropertyValue("--entropy")), getComputedStyle(node).backgroundColor
    ])"""
    most = max(tokens.evaluate_all(paint))
    assert most[0] > 0
    expect(page.locator("#legend")).to_contain_text("nats")
    expect(page.get_by_title(f"entropy {most[0]:.3f} nats").first).to_be_attached()
    clear = "rgba(0, 0, 0, 0)"
    assert most[1] != clear
    page.get_by_label("shade tokens by entropy").uncheck()
    expect(page.locator("#legend")).to_be_hidden()
    assert {colour for _, colour in tokens.evaluate_all(paint)} == {clear}


def test_four_budgets_side_by_side(open_page: Open) -> None:
    page = open_page()
    add = page.get_by_role("button", name="Compare another budget")
    for _ in range(3):
        add.click()
    expect(add).to_be_disabled()
    budgets = {"A": "off", "B": "4", "C": "12", "D": "no limit"}
    for letter, budget in budgets.items():
        budget_field(page, letter).fill(budget)
        budget_field(page, letter).press("Tab")
    page.get_by_label("Question", exact=True).fill(QUESTION)
    page.get_by_label("Question", exact=True).press("Control+Enter")
    said = [page.get_by_label(f"Budget {letter}", exact=True).locator(".cause") for letter in budgets]
    for cause, words in zip(said, ("was off", "budget of 4", "budget of 12", "by itself"), strict=True):
        expect(cause).to_contain_text(words)
    assert page.locator("[role=progressbar]").evaluate_all("(bars) => bars.map((b) => b.ariaValueMax)") == [
        None,
        "4",
        "12",
        None,
    ]
    page.get_by_role("button", name="Remove budget B").click()
    assert page.locator(".column").count() == page.locator("#dial input").count() == 3
    expect(add).to_be_focused()
    budget_field(page, "A").fill("many")
    budget_field(page, "A").press("Tab")
    expect(budget_field(page, "A")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("Give a whole number of tokens")).to_be_visible()


def test_markup_of_users_and_models_is_text(open_page: Open) -> None:
    page = open_page()
    page.get_by_text("Sampling and early-stop text").click()
    page.get_by_label("early-stop text").fill(f"{PWN}\n</think>\n\n{PWN}<b>bold</b>\n")
    page.get_by_text("Sampling and early-stop text").click()
    ask(page, QUESTION, "1")
    expect(page.locator(".trace ins")).to_contain_text(PWN)
    assert shown(page, "answer").lstrip().startswith(f"{PWN}<b>bold</b>\n")
    expect(page.locator("#status")).to_contain_text(PWN)
    page.get_by_label("Question", exact=True).fill(PWN)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_hidden()
    page.get_by_role("button", name="Copy as curl").click()
    assert PWN.replace('"', '\\"') in page.locator("#code-text").input_value()
    assert page.locator("main img, main b, main script").count() == 0
    assert page.evaluate("window.pwned") is None


def test_errors_are_told_in_words(open_page: Open) -> None:
    page = open_page()
    page.get_by_label("Question", exact=True).fill(QUESTION)
    page.get_by_text("Sampling and early-stop text").click()
    page.get_by_label("most tokens of the reply").fill("1000000")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("[data-part=error]")).to_contain_text("max_tokens")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    page.get_by_label("early-stop text").fill("no tag")
    page.get_by_label("most tokens of the reply").fill("")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("[data-part=error]")).to_contain_text("it must hold the closing tag '</think>'")
    expect(page.locator("#status")).to_contain_text("it must hold the closing tag '</think>'")


def test_what_is_copied_runs(open_page: Open) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    ask(page, f'{QUESTION} It\'s "quoted" \\ $HOME `x`', "8")
    answer = shown(page, "answer").strip()
    code = {}
    for name in ("curl", "Python"):
        page.get_by_role("button", name=f"Copy as {name}").click()
        page.get_by_role("button", name="Copy", exact=True).click()
        expect(page.locator("#code-copy")).to_have_text("Copied")
        code[name] = page.evaluate("navigator.clipboard.readText()")
        page.get_by_role("button", name="Close").click()
        expect(page.locator("dialog")).to_be_hidden()
    python = subprocess.run(
        [sys.executable, "-c", code["Python"]], capture_output=True, text=True, timeout=60
    )
    assert answer in python.stdout, python.stderr
    assert "'stop_cause': 'budget'" in python.stdout
    curl = subprocess.run(["bash", "-c", code["curl"]], capture_output=True, text=True, timeout=60)
    assert '"stop_cause": "budget"' in curl.stdout.replace('":"', '": "'), curl.stderr


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_bars_anyone(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    assert violations(page) == []
    ask(page, QUESTION, "12")
    page.get_by_role("button", name="Compare another budget").click()
    assert violations(page) == []
    page.get_by_role("button", name="Copy as Python").first.click()
    assert violations(page) == []


def test_keys_go_through_the_page_in_order(open_page: Open) -> None:
    page = open_page()
    names = []
    for _ in range(24):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.id || document.activeElement.ariaLabel || ''"))
    places = [
        names.index(name) for name in ("theme", "question", "go", "Budget A", "shade", "add", "budget-A")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(("motion", "animation"), [("reduce", "none"), ("no-preference", "blink")])
def test_motion_is_reduced_where_asked(open_page: Open, motion: str, animation: str) -> None:
    page = open_page(reduced_motion=motion)
    page.locator(".column").evaluate("(column) => column.classList.add('running')")
    name = "getComputedStyle(document.querySelector('.trace'), '::after').animationName"
    assert page.evaluate(name) == animation


def test_themes(open_page: Open) -> None:
    page = open_page(color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.get_by_role("button", name="Light theme").press("Enter")
    light = page.evaluate(paper)
    assert light != dark
    page.reload()
    assert page.evaluate(paper) == light
    expect(page.get_by_role("button", name="Dark theme")).to_be_visible()


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_shows_it_without_scrolling_sideways(open_page: Open, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 800})
    page.get_by_role("button", name="Compare another budget").click()
    page.get_by_text("Sampling and early-stop text").click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("#dial svg").bounding_box()["width"] <= width
