"""The page on a server that asks for a key, has a profile, thinks long, and cannot tell entropies."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from serve import DEFAULT_MODEL, DEFAULT_MODEL_NAME
from serve.budget import EFFORT_SHARES
from serve.checkpoint import checkpoint_files, checkpoint_hash
from serve.launch import RunningServer, start_server
from serve.playground import FILES
from serve.profile import PROFILE, read_profile
from tests.browsing import PATIENCE, violations

KEY = "sk-playground"
QUESTION = "Modulo 10, compute (((((7*5)-4)*3)*9)+3)*9."
THINKS = 1200
"""Tokens that it thinks at least, unless it is stopped."""

BUDGETS = (0, 8, 32, 64, "max")
FITTED = (0.5, 0.5, 0.7, 0.9, 0.95)
TOKENS = (0.0, 7.5, 25.0, 38.0, 41.5)
CHAIN = (0.1, 0.1, 0.2, 0.6, 0.8)
LEVELS = {"minimal": 0, "low": 32, "medium": 48, "high": 64, "xhigh": 64, "max": "max"}

Open = Callable[..., Page]


def curve(fitted: tuple[float, ...]) -> dict[str, Any]:
    """A curve of a profile and its levels, as `thinkdial eval profile` writes them."""
    rows = zip(BUDGETS, fitted, TOKENS, strict=True)
    return {
        "curve": [
            {
                "budget": budget,
                "n": 100,
                "accuracy": share - 0.01,
                "low": share - 0.05,
                "high": share + 0.04,
                "fitted": share,
                "mean_thinking_tokens": tokens,
            }
            for budget, share, tokens in rows
        ],
        "recommended": {name: {"budget": LEVELS[name]} for name in EFFORT_SHARES},
    }


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / PROFILE
    document = {
        "format": 2,
        "model": DEFAULT_MODEL_NAME,
        "checkpoint_sha256": checkpoint_hash(checkpoint_files(DEFAULT_MODEL)),
        "axis": "tokens",
        "rule": "made for a test",
        "families": {"chain": curve(CHAIN)},
        **curve(FITTED),
    }
    path.write_text(json.dumps(document))
    return path


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
    expect(page.locator(".cause")).to_contain_text("budget of 48")
    page.get_by_role("button", name="Copy as Python").click()
    code = page.locator("#code-text").input_value()
    assert 'os.environ["THINKDIAL_API_KEY"]' in code
    assert KEY not in code + page.url + page.content()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Forget API key").click()
    expect(field).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_the_curve_is_the_servers(open_page: Open, profile: Path) -> None:
    page = open_page()
    budgets = [0, 1, 8, 20, 33, 64, 65, 100, 127, 128, 5000, None]
    told = page.evaluate(
        """async ([document, budgets]) => {
          const { curvesOf } = await import("/playground/curve.js");
          const { curve } = curvesOf(document).get("");
          return budgets.map((budget) => [curve.at(budget).accuracy, curve.at(budget).tokens]);
        }""",
        [json.loads(profile.read_text()), budgets],
    )
    ours = read_profile(profile).overall
    for budget, (accuracy, tokens) in zip(budgets, told, strict=True):
        assert accuracy == pytest.approx(ours.accuracy_at(budget)), budget
        assert tokens == pytest.approx(ours.tokens_at(budget)), budget


def test_the_dial_turns_by_keys_and_by_pointer(open_page: Open) -> None:
    page = open_page()
    slider = page.get_by_role("slider", name="Budget A")
    reading = page.locator("#dial .reading")
    expect(reading).to_have_text("80.0 % at 48 tokens")  # medium, between 32 and 64
    expect(page.locator(".expected")).to_have_text(
        "Expected: 80.0 % [75.0, 84.0] right, 31.5 tokens on average"
    )
    slider.focus()
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "thinking off, 50.0 % right as measured")
    page.keyboard.press("ArrowRight")
    expect(reading).to_have_text("50.0 % at 4 tokens")
    page.keyboard.press("End")
    expect(reading).to_have_text("95.0 % at no limit")
    page.keyboard.press("ArrowLeft")
    expect(reading).to_have_text("95.0 % at 128 tokens")
    page.get_by_role("button", name="high", exact=True).click()
    expect(reading).to_have_text("90.0 % at 64 tokens")
    page.get_by_label("curve of").select_option("chain")
    expect(reading).to_have_text("60.0 % at 64 tokens")
    box = page.locator("#dial svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 3, box["y"] + box["height"] / 2, steps=4)
    expect(reading).to_have_text("10.0 % at thinking off")
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + 20, steps=4)
    page.mouse.up()
    expect(reading).to_have_text("80.0 % at no limit")
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
