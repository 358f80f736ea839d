"""Budgets beside tools, LoRA adapters and a server without prefix caching."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import save_file

from serve import DEFAULT_MODEL
from serve.launch import RunningServer, start_server
from tests.serve.conftest import Server, events

pytestmark = pytest.mark.slow

BUDGET = 5
LOOK = {
    "name": "look",
    "description": "Look it up.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"at": {"type": "integer", "enum": [1, 2, 3]}},
        "required": ["at"],
        "additionalProperties": False,
    },
}
CALL = r'<tool_call>\n\{"name": "look", "arguments": \{"at": [123]\}\}\n</tool_call>'
NAMED = {"type": "function", "function": {"name": "look"}}


def template_that_opens() -> str:
    """The shipped model thinks beside tools, which it has never seen, only if the block is opened for it."""
    closed = "        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}"
    template = (DEFAULT_MODEL / "chat_template.jinja").read_text(encoding="utf-8")
    assert template.count(closed) == 1
    opened = closed.replace("    {%- endif %}", "    {%- else %}{{- '<think>\\n' }}\n    {%- endif %}")
    return template.replace(closed, opened)


def make_adapter(folder: Path, rank: int = 8) -> Path:
    """A random LoRA adapter of the shipped model, in PEFT's format."""
    config = json.loads((DEFAULT_MODEL / "config.json").read_text(encoding="utf-8"))
    random = torch.Generator().manual_seed(0)
    hidden, head = config["hidden_size"], config["head_dim"]
    widths = {"q_proj": head * config["num_attention_heads"], "v_proj": head * config["num_key_value_heads"]}
    weights = {}
    for layer in range(config["num_hidden_layers"]):
        for name, width in widths.items():
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{prefix}.lora_A.weight"] = torch.randn(rank, hidden, generator=random)
            weights[f"{prefix}.lora_B.weight"] = 0.1 * torch.randn(width, rank, generator=random)
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    adapter = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "bias": "none",
        "target_modules": sorted(widths),
        "base_model_name_or_path": "thinkdial-default",
    }
    (folder / "adapter_config.json").write_text(json.dumps(adapter), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("beside")
    template = folder / "opens.jinja"
    template.write_text(template_that_opens(), encoding="utf-8")
    args = [
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--chat-template", str(template)),
        *("--enable-lora", "--max-lora-rank", "8", "--lora-modules", f"dot={make_adapter(folder / 'lora')}"),
        "--no-enable-prefix-caching",
    ]
    with start_server(args=args, log_path=folder / "server.log") as server:
        yield server


@pytest.fixture(scope="module")
async def beside(running: RunningServer) -> AsyncIterator[Server]:
    async with httpx.AsyncClient(base_url=running.base_url, timeout=300) as http:
        yield Server(running, http, (await http.get("/v1/thinking/format")).raise_for_status().json())


async def use_tool(server: Server, question: str, stream: bool, **body: Any) -> dict[str, Any]:
    """One reply with the tool at hand: its reasoning, content, calls, finish reason and report."""
    blanks = (await server.post("/tokenize", {"prompt": " \n\n\n\t\r", "add_special_tokens": False})).json()
    body = {
        "messages": [{"role": "user", "content": question}],
        "tools": [{"type": "function", "function": LOOK}],
        "temperature": 0,
        "max_tokens": 150,
        "stream": stream,
        **body,
        # JSON may hold blanks without end, and this model has not learnt when to stop.
        "logit_bias": {**{str(i): -100 for i in blanks["tokens"]}, **body.get("logit_bias", {})},
    }
    response = await server.post("/v1/chat/completions", body)
    assert response.status_code == 200, response.text
    payloads = events(response.text) if stream else [response.json()]
    reply: dict[str, Any] = {"reasoning": "", "content": "", "calls": {}}
    for choice in (payload["choices"][0] for payload in payloads if payload.get("choices")):
        part = choice["delta"] if stream else choice["message"]
        reply["reasoning"] += part.get("reasoning") or ""
        reply["content"] += part.get("content") or ""
        for place, call in enumerate(part.get("tool_calls") or []):
            so_far = reply["calls"].setdefault(call.get("index", place), {"name": "", "arguments": ""})
            for name in so_far:
                so_far[name] += call["function"].get(name) or ""
        if choice["finish_reason"]:
            reply |= {"finish": choice["finish_reason"], "thinking": choice["thinking"]}
    return reply


@pytest.mark.parametrize("choice", ["auto", "required", NAMED], ids=["auto", "required", "named"])
@pytest.mark.parametrize("cause", ["budget", "natural", "disabled"])
@pytest.mark.parametrize("stream", [False, True])
async def test_tool_calls(
    beside: Server, questions: list[str], choice: str | dict[str, Any], cause: str, stream: bool
) -> None:
    body: dict[str, Any] = {
        "tool_choice": choice,
        "thinking_budget": {"budget": BUDGET, "natural": 100}.get(cause, 0),
    }
    if choice == "auto":  # nothing obliges a model to call; this one is made to
        tool = {"type": "function", "function": {k: v for k, v in LOOK.items() if k != "strict"}}
        body |= {"tools": [tool], "structured_outputs": {"regex": CALL}}
    if cause == "natural":  # it does not know when to end thinking about tools
        body["logit_bias"] = {str(beside.close_id): 8}
    reply = await use_tool(beside, questions[0], stream, **body)
    assert reply["thinking"]["stop_cause"] == cause, reply
    (call,) = reply["calls"].values()
    assert call["name"] == "look"
    assert json.loads(call["arguments"])["at"] in (1, 2, 3)
    assert reply["content"].strip() == ""
    assert reply["finish"] == ("stop" if choice == NAMED else "tool_calls")
    assert bool(reply["reasoning"].strip()) == (cause != "disabled")
    if cause == "budget":
        assert reply["thinking"]["tokens"] == BUDGET
        assert reply["reasoning"].rstrip().endswith("directly now.")


@pytest.mark.parametrize("stream", [False, True])
async def test_lora(beside: Server, questions: list[str], stream: bool) -> None:
    base = await beside.chats(questions[:8], temperature=0)
    free = await beside.chats(questions[:8], temperature=0, model="dot")
    cut = await beside.chats(questions[:8], temperature=0, model="dot", thinking_budget=BUDGET, stream=stream)
    assert [a.choices[0].token_ids for a in base] != [a.choices[0].token_ids for a in free]
    causes = set()
    for whole, answer in zip(free, cut, strict=True):
        (uncut,), (choice,) = whole.choices, answer.choices
        causes.add(choice.thinking["stop_cause"])
        if choice.thinking["stop_cause"] == "budget":
            assert choice.token_ids[:BUDGET] == uncut.token_ids[:BUDGET]
            assert choice.token_ids[BUDGET : BUDGET + len(beside.stop_ids)] == beside.stop_ids
            # The answer is the adapter's too.
            prompt = [*answer.prompt_token_ids, *choice.token_ids[: BUDGET + len(beside.stop_ids)]]
            body = {
                "model": "dot",
                "prompt": prompt,
                "temperature": 0,
                "max_tokens": 4,
                "return_token_ids": True,
                "thinking_budget": 0,
            }
            oracle = (await beside.post("/v1/completions", body)).json()["choices"][0]["token_ids"]
            assert choice.token_ids[BUDGET + len(beside.stop_ids) :][:4] == oracle
        else:
            assert choice.token_ids == uncut.token_ids
    assert "budget" in causes


async def test_without_prefix_caching(beside: Server, running: RunningServer, questions: list[str]) -> None:
    free = await beside.chats(questions, temperature=0)
    cut = await beside.chats(questions, temperature=0, thinking_budget=BUDGET)
    kept = [
        (answer.choices[0].token_ids[:BUDGET], whole.choices[0].token_ids[:BUDGET])
        for whole, answer in zip(free, cut, strict=True)
        if answer.choices[0].thinking["stop_cause"] == "budget"
    ]
    assert kept
    assert all(one == other for one, other in kept)
    log = running.log_path.read_text(encoding="utf-8")
    assert log.count("prefix caching is off: each cut computes its whole prefix again") == 1
