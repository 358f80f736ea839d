"""The page on a server that asks for a key, has a profile, thinks long, and cannot tell entropies."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from serve import DEFAULT_MODEL, DEFAULT_MODEL_NAME
from serve.checkpoint import checkpoint_files, checkpoint_hash
from serve.launch import RunningServer, start_server
from serve.playground import FILES
from serve.profile import PROFILE, read_profile
from tests.browsing import PATIENCE, violations
from tests.serve.made_profile import write_profile

pytestmark = pytest.mark.slow

KEY = "sk-playground"
QUESTION = "Modulo 10, compute (((((7*5)-4)*3)*9)+3)*9."
THINKS = 1200
"""Tokens that it thinks at least, unless it is stopped."""

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    digest = checkpoint_hash(checkpoint_files(DEFAULT_MODEL))
    path = tmp_path_factory.mktemp("profile") / PROFILE
    return write_profile(path, model=DEFAULT_MODEL_NAME, checkpoint_sha256=digest)


@pytest.fixture(scope="module")
def guarded(profile: Path) -> Iterator[RunningServer]:
    thinking = json.dumps({"min_tokens": THINKS})
    flags = ["--api-key", KEY, "--profile", str(profile), "--default-thinking", thinking]
    with start_server(args=[*flags, "--logprobs-mode", "raw_logits"], api_key=KEY) as running:
        yield running


@pytest.fixture
def open_page(browser: Browser, guarded: RunningServer) -> Iterator[Open]:
    """Opens the page in a context of its own, with a key or without."""
    contexts = []
    failed: list[str] = []

    def open_page(key: str | None = KEY, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(f"{guarded.base_url}/")
        if key is not None:
            page.get_by_label("asks for an API key").fill(key)
            page.get_by_role("button", name="Use key").click()
            page.locator("#dial .measured").first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert failed == []


def test_only_the_page_needs_no_key(guarded: RunningServer) -> None:
    for path in FILES:
        assert httpx.get(guarded.base_url + path).status_code == 200
    for path in ("/v1/models", "/playground/other.js", "/playground", "/v1/thinking/profile", "//", "/docs"):
        assert httpx.get(guarded.base_url + path).status_code == 401, path
    assert httpx.post(f"{guarded.base_url}/", json={}).status_code == 405


def test_the_key_is_asked_for_and_stays_in_the_tab(open_page: Open) -> None:
    page = open_page(key=None)
    field = page.get_by_label("asks for an API key")
    expect(field).to_be_focused()
    assert violations(page) == []
    field.fill("sk-wrong")
    field.press("Enter")
    expect(page.get_by_text("does not know that API key")).to_be_visible()
    field.fill(KEY)
    field.press("Enter")
    expect(page.locator("#model")).to_have_text(DEFAULT_MODEL_NAME)
    expect(field).to_be_hidden()
    assert page.get_by_text("does not know").count() == 0
    assert page.evaluate("Object.values(sessionStorage)") == [KEY]
    assert page.evaluate("[document.cookie, ...Object.values(localStorage)].join('')") == ""
    page.get_by_label("Question", exact=True).fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".cause")).to_contain_text("budget of 16")
    page.get_by_role("button", name="Copy as Python").click()
    code = page.locator("#code-text").input_value()
    assert 'os.environ["THINKDIAL_API_KEY"]' in code
    assert KEY not in code + page.url + page.content()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Forget API key").click()
    expect(field).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


@pytest.mark.parametrize("family", ["", "chain"])
def test_the_curve_is_the_servers(open_page: Open, profile: Path, family: str) -> None:
    page = open_page()
    budgets = [0, 1, 7, 8, 20, 31, 32, 33, 50, 63, 64, 5000, None]
    told = page.evaluate(
        """async ([document, family, budgets]) => {
          const { curvesOf } = await import("/playground/curve.js");
          const { curve } = curvesOf(document).get(family);
          return budgets.map((budget) => curve.at(budget)).map((it) => it && [it.accuracy, it.tokens]);
        }""",
        [json.loads(profile.read_text()), family, budgets],
    )
    curve = read_profile(profile).curve(family or None)
    for budget, there in zip(budgets, told, strict=True):
        if curve.covers(budget):
            assert there == pytest.approx([curve.accuracy_at(budget), curve.tokens_at(budget)]), budget
        else:
            assert there is None


def test_the_dial_turns_by_keys_and_by_pointer(open_page: Open) -> None:
    page = open_page()
    slider = page.get_by_role("slider", name="Budget A")
    reading = page.locator("#dial .reading")
    expect(reading).to_have_text("80.0 % at 16 tokens")  # the level medium
    expect(page.locator(".expected")).to_have_text(
        "Expected: 80.0 % [78.0, 82.0] right, 14.0 tokens on average"
    )
    slider.focus()
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "thinking off, 20.0 % right as measured")
    page.keyboard.press("ArrowRight")
    expect(reading).to_have_text("30.0 % at 4 tokens")
    page.keyboard.press("End")
    expect(reading).to_have_text("95.0 % at no limit")
    page.keyboard.press("ArrowLeft")
    expect(reading).to_have_text("95.0 % at 64 tokens")
    page.get_by_role("button", name="high", exact=True).click()
    expect(reading).to_have_text("85.0 % at 24 tokens")
    page.get_by_label("curve of").select_option("chain")
    expect(reading).to_have_text("50.0 % at 24 tokens")
    box = page.locator("#dial svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 3, box["y"] + box["height"] / 2, steps=4)
    expect(reading).to_have_text("thinking off")
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + 20, steps=4)
    page.mouse.up()
    expect(reading).to_have_text("60.0 % at no limit")
    expect(page.get_by_label("Thinking tokens of budget A")).to_have_value("no limit")
    assert violations(page) == []


def test_answer_now_and_entropies_that_cannot_be_told(open_page: Open) -> None:
    page = open_page()
    page.get_by_label("Question", exact=True).fill(QUESTION)
    page.get_by_role("button", name="max", exact=True).click()
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".gauge .number")).to_contain_text("about")
    page.get_by_role("button", name="Answer now").click()
    expect(page.locator(".cause")).to_contain_text("You asked for the answer after")
    expect(page.get_by_text("Tokens are not shaded")).to_contain_text("raw_logits")
    expect(page.get_by_label("shade tokens by entropy")).to_be_disabled()
    used = int("".join(filter(str.isdigit, page.locator(".gauge .number").inner_text())))
    assert 0 < used < THINKS
    expect(page.locator(".trace ins")).to_contain_text("Considering the limited time")
    assert page.locator(".answer").inner_text().strip() != ""
    assert page.locator(".trace .token").count() == 0


def test_a_reply_can_be_given_up(open_page: Open) -> None:
    page = open_page()
    page.get_by_label("Question", exact=True).fill(QUESTION)
    page.get_by_role("button", name="max", exact=True).click()
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".trace")).not_to_be_empty()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator("[data-part=error]")).to_have_text("Stopped: the reply was not waited for.")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
