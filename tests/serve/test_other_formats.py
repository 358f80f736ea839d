"""A model with tags of its own whose template opens the block, as DeepSeek-R1's does."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from serve.launch import RunningServer, start_server
from tests.browsing import chromium
from tests.serve.checkpoints import checkpoint
from tests.serve.conftest import Server

pytestmark = pytest.mark.slow

BUDGET = 5
GENERATION = (
    "{{- '<|im_start|>assistant\\n' }}\n    {%- if enable_thinking is defined and enable_thinking is false %}"
)
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "x",
        "schema": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
    },
}


def like_r1(name: str, text: str) -> str:
    """Tags that nobody knows and that are special tokens; a template that always opens the block."""
    text = text.replace("think>", "reason>")
    if name == "tokenizer.json":
        before, added, after = text.partition('"normalizer"')
        return before.replace('"special": false', '"special": true') + added + after
    head, found, _ = text.partition(GENERATION)
    assert found
    return head + "{{- '<|im_start|>assistant\\n<reason>\\n' }}{%- endif %}"


@pytest.fixture(scope="module")
def reasoner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("models")
    model = checkpoint(folder / "reasoner", like_r1)
    args = ["--thinking-open", "<reason>", "--thinking-close", "</reason>"]
    with start_server(str(model), args=args, log_path=folder / "reasoner.log") as running:
        yield running


@pytest.fixture(scope="module")
async def ask_reasoner(reasoner: RunningServer) -> AsyncIterator[Server]:
    async with httpx.AsyncClient(base_url=reasoner.base_url, timeout=300) as http:
        yield Server(reasoner, http, (await http.get("/v1/thinking/format")).raise_for_status().json())


async def test_its_format(ask_reasoner: Server) -> None:
    form = ask_reasoner.form
    assert (form["open"], form["close"], form["opened_by"]) == ("<reason>", "</reason>", "template")
    assert form["stop_text"].endswith("\n</reason>\n\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_block_is_open_from_the_start(
    ask_reasoner: Server, questions: list[str], stream: bool
) -> None:
    free = await ask_reasoner.chats(questions, temperature=0)
    cut = await ask_reasoner.chats(questions, temperature=0, thinking_budget=BUDGET, stream=stream)
    causes = set()
    for whole, answer in zip(free, cut, strict=True):
        (uncut,), (choice,) = whole.choices, answer.choices
        assert answer.prompt_token_ids.count(ask_reasoner.open_id) == 1
        assert ask_reasoner.open_id not in choice.token_ids
        end = choice.thinking["tokens"]
        assert choice.token_ids[:end] == uncut.token_ids[:end]
        assert "reason>" not in choice.reasoning + choice.content
        causes.add(choice.thinking["stop_cause"])
        if choice.thinking["stop_cause"] == "budget":
            assert end == BUDGET
            assert choice.token_ids[end : end + len(ask_reasoner.stop_ids)] == ask_reasoner.stop_ids
            assert choice.reasoning.rstrip().endswith("directly now.")
        else:
            assert choice.token_ids == uncut.token_ids
        assert choice.content.strip()
        assert uncut.thinking["stop_cause"] == "natural"
    assert "budget" in causes


async def test_streaming_shows_the_same(ask_reasoner: Server, questions: list[str]) -> None:
    for body in ({}, {"thinking_budget": BUDGET}, {"thinking_budget": 0}):
        whole = await ask_reasoner.chats(questions, temperature=0, **body)
        parts = await ask_reasoner.chats(questions, temperature=0, stream=True, **body)
        for one, other in zip(whole, parts, strict=True):
            assert [(c.reasoning, c.content) for c in one.choices] == [
                (c.reasoning, c.content) for c in other.choices
            ]


async def test_thinking_off_closes_the_block(ask_reasoner: Server, questions: list[str]) -> None:
    answer = await ask_reasoner.chat(questions[0], temperature=0, thinking_budget=0)
    (choice,) = answer.choices
    assert choice.thinking["stop_cause"] == "disabled"
    assert choice.thinking["tokens"] == 0
    assert choice.reasoning == ""
    assert choice.content.strip()
    tail = answer.prompt_token_ids[answer.prompt_token_ids.index(ask_reasoner.open_id) :]
    text = (await ask_reasoner.post("/detokenize", {"tokens": tail})).json()["prompt"]
    assert text == "<reason>\n\n</reason>\n\n"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("budget", [0, BUDGET, 200])
async def test_json_schema(ask_reasoner: Server, questions: list[str], budget: int, stream: bool) -> None:
    answers = await ask_reasoner.chats(
        questions[:4],
        temperature=0,
        thinking_budget=budget,
        max_tokens=300,
        response_format=SCHEMA,
        stream=stream,
    )
    for answer in answers:
        (choice,) = answer.choices
        assert choice.content.strip().startswith("{"), choice
        assert choice.thinking["tokens"] <= budget


async def test_literal_tags_stay_text(ask_reasoner: Server) -> None:
    text = "a <reason> b </reason> c"
    answer = await ask_reasoner.chat(text, max_tokens=1)
    assert answer.prompt_token_ids.count(ask_reasoner.open_id) == 1
    assert ask_reasoner.close_id not in answer.prompt_token_ids
    shown = await ask_reasoner.post("/detokenize", {"tokens": answer.prompt_token_ids})
    assert text in shown.json()["prompt"]


async def test_thinking_of_earlier_turns_is_stripped(ask_reasoner: Server) -> None:
    def talk(reply: str) -> list[dict[str, Any]]:
        return [
            {"role": "user", "content": "1"},
            {"role": "assistant", "content": reply},
            {"role": "user", "content": "2"},
        ]

    plain = await ask_reasoner.chat(talk("3"), max_tokens=1)
    thought = await ask_reasoner.chat(talk("<reason>\nhm\n</reason>\n\n3"), max_tokens=1)
    assert thought.prompt_token_ids == plain.prompt_token_ids


def test_the_page_without_a_curve(reasoner: RunningServer) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.goto(reasoner.base_url)
        expect(page.get_by_text("No curve was measured for this model")).to_be_visible()
        page.get_by_label("Thinking tokens of budget A").fill(str(BUDGET))
        page.get_by_label("Thinking tokens of budget A").press("Tab")
        expect(page.locator("#dial .reading")).to_have_text(f"{BUDGET} tokens")
        page.get_by_label("Question", exact=True).fill("Modulo 10, compute (7*5)-4.")
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.locator(".cause")).to_contain_text(f"cut at its budget of {BUDGET} tokens")
        expect(page.locator(".trace ins")).to_contain_text("Considering the limited time")
        assert "reason>" not in page.locator("#columns").inner_text()
