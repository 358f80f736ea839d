"""Clients that are commands: `curl`, and lm-eval's `local-chat-completions`."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.serve.conftest import Server, events

pytestmark = pytest.mark.slow

BUDGET = 5
TASK = r"""
task: boxed
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: [], do_sample: false, max_gen_toks: 128, thinking_budget: BUDGET}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - {name: boxed, filter: [{function: regex, regex_pattern: 'boxed\{(\d)\}'}, {function: take_first}]}
"""


async def run(*command: str, env: dict[str, str] | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("stream", [False, True])
async def test_curl(ask: Server, questions: list[str], stream: bool) -> None:
    body = {
        "messages": [{"role": "user", "content": questions[0]}],
        "temperature": 0,
        "max_tokens": 128,
        "thinking_budget": BUDGET,
        "stream": stream,
    }
    command = ["curl", "--silent", "--show-error", "--no-buffer", f"{ask.base_url}/v1/chat/completions"]
    said = await run(*command, "-H", "content-type: application/json", "-d", json.dumps(body))
    payloads = events(said) if stream else [json.loads(said)]
    report = payloads[-1]["choices"][0]["thinking"]
    assert (report["stop_cause"], report["tokens"]) == ("budget", BUDGET)
    if stream:
        assert said.endswith("data: [DONE]\n\n")


async def test_lm_eval(ask: Server, questions: list[str], tmp_path: Path) -> None:
    """A task of our own, with a budget among its generation settings."""
    expected = await ask.chats(questions[:2], temperature=0, max_tokens=128, thinking_budget=BUDGET)
    assert {answer.choices[0].thinking["stop_cause"] for answer in expected} == {"budget"}
    data = tmp_path / "boxed.jsonl"
    data.write_text("".join(json.dumps({"question": q, "answer": "0"}) + "\n" for q in questions[:2]))
    task = TASK.replace("DATA", json.dumps(str(data))).replace("BUDGET", str(BUDGET))
    (tmp_path / "boxed.yaml").write_text(task)
    await run(
        *(sys.executable, "-m", "lm_eval", "run", "--model", "local-chat-completions"),
        *("--model_args", f"model={ask.model},base_url={ask.base_url}/v1/chat/completions,num_concurrent=2"),
        *("--tasks", "boxed", "--include_path", str(tmp_path), "--apply_chat_template"),
        *("--output_path", str(tmp_path / "out"), "--log_samples"),
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache"), "OPENAI_API_KEY": "none"},
    )
    (samples,) = (tmp_path / "out").glob("*/samples_boxed_*.jsonl")
    rows = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda row: row["doc_id"])
    assert [row["resps"][0][0] for row in rows] == [answer.choices[0].content for answer in expected]
