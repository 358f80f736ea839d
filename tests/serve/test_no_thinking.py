"""A model that does not think: a budget is refused, all else is served."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from serve.launch import start_server
from tests.browsing import violations
from tests.serve.checkpoints import checkpoint
from tests.serve.test_formats import real_template

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def thoughtless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A model whose tokenizer has the tags and whose template does not."""
    folder = tmp_path_factory.mktemp("models")
    model = checkpoint(
        folder / "thoughtless",
        lambda name, text: text if name == "tokenizer.json" else real_template("qwen3_instruct_2507"),
    )
    with (
        start_server(str(model), log_path=folder / "thoughtless.log") as running,
        httpx.Client(base_url=running.base_url, timeout=300) as http,
    ):
        yield http


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking_budget": 8},
        {"thinking": {"stop_text": "So.</think>"}},
        {"thinking": {"deadline": 5}},
    ],
)
def test_a_budget_without_thinking_is_refused(thoughtless: httpx.Client, fields: dict[str, Any]) -> None:
    body = {"messages": [{"role": "user", "content": "1"}], "max_tokens": 4, **fields}
    response = thoughtless.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert "thoughtless has no thinking" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "fields", [{}, {"thinking_budget": 0}, {"enable_thinking": False}, {"reasoning_effort": "low"}]
)
@pytest.mark.parametrize("stream", [False, True])
def test_without_thinking_all_else_is_served(
    thoughtless: httpx.Client, fields: dict[str, Any], stream: bool
) -> None:
    body = {"messages": [{"role": "user", "content": "1"}], "max_tokens": 4, "stream": stream, **fields}
    response = thoughtless.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    assert '"content"' in response.text
    if not stream:
        assert response.json()["choices"][0]["message"]["content"]


def test_there_is_no_format_to_show(thoughtless: httpx.Client) -> None:
    response = thoughtless.get("/v1/thinking/format")
    assert response.status_code == 404
    assert "no thinking" in response.json()["error"]["message"]


def test_the_page_has_no_dial(thoughtless: httpx.Client, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(str(thoughtless.base_url))
    expect(page.get_by_text("has no thinking")).to_be_visible()
    assert page.locator("#dial-section, #add, #legend").filter(visible=True).count() == 0
    page.get_by_label("Question", exact=True).fill("1")
    page.get_by_text("Sampling and early-stop text").click()
    page.get_by_label("most tokens of the reply").fill("16")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".cause")).to_contain_text("The reply has ended.")
    assert page.locator(".answer").inner_text() != ""
    assert violations(page) == []
    page.close()


def test_there_is_no_profile_to_show(thoughtless: httpx.Client) -> None:
    response = thoughtless.get("/v1/thinking/profile")
    assert response.status_code == 404
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "has no thinking profile; measure the model" in error["message"]
