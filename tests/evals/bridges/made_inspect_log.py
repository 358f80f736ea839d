"""A log as inspect writes it, made by hand: as JSON, and in the archives of its older and newer versions."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zstandard

from evals.bridges.inspect_logs import ZSTANDARD


def inspect_log(budget: int | None = 512) -> dict[str, Any]:
    """A log as inspect_ai 0.3.285 writes it: two epochs, reasoning as content, one sample that failed."""

    def sample(number: int, epoch: int, content: Any, value: Any, stop: str, **usage: int) -> dict[str, Any]:
        return {
            "id": number,
            "epoch": epoch,
            "input": f"attachment://{number:032x}",
            "target": ["4"],
            "messages": [{"role": "user", "content": f"attachment://{number:032x}"}],
            "output": {
                "model": "qwen3",
                "choices": [
                    {
                        "message": {"role": "assistant", "content": content, "source": "generate"},
                        "stop_reason": stop,
                    }
                ],
                "usage": {"input_tokens": 20, "input_tokens_cache_read": 5, "total_tokens": 99, **usage},
                "time": 1.5,
            },
            "scores": {"math": {"value": value, "answer": "4"}, "judge": {"value": {"tone": 1}}},
            "metadata": {"level": 2, "subject": "algebra"},
            "store": {},
            "model_usage": {},
            "attachments": {f"{number:032x}": f"What is {number} + {number}?"},
        }

    def thought(thinking: str, answer: str) -> list[dict[str, Any]]:
        return [{"type": "reasoning", "reasoning": thinking}, {"type": "text", "text": answer}]

    failed = sample(2, 2, "", "I", "stop") | {"error": {"message": "connection reset", "traceback": ""}}
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "task": "hidden/sums",
            "task_id": "x",
            "model": "vllm/qwen3",
            "config": {"epochs": 2},
            "packages": {"inspect_ai": "0.3.285"},
            "model_generate_config": {"reasoning_tokens": budget, "temperature": 0.6, "seed": 3},
        },
        "plan": {"name": "plan", "steps": [], "config": {"max_tokens": 1000}},
        "samples": [
            sample(
                2,
                1,
                thought("2 + 2", "It is \\boxed{4}."),
                "C",
                "stop",
                output_tokens=30,
                reasoning_tokens=12,
            ),
            sample(1, 1, "<think>1 + 1</think>\\boxed{2}", "I", "stop", output_tokens=8),
            sample(
                1, 2, thought("hm, 1", ""), float("nan"), "max_tokens", output_tokens=50, reasoning_tokens=50
            ),
            failed,
        ],
    }


def write_eval(path: Path, log: dict[str, Any], packed: bool) -> Path:
    """The same log as `.eval`: a zip of a header and a file for each sample; packed as newer ones are."""
    content = {f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in log["samples"]}
    content |= {"header.json": {k: v for k, v in log.items() if k != "samples"}, "summaries.json": {}}
    texts = {name: json.dumps(value).encode() for name, value in content.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED) as archive:
        for name, data in texts.items():
            archive.writestr(
                name, zstandard.compress(data[:100]) + zstandard.compress(data[100:]) if packed else data
            )
    if packed:
        _relabel(path, [len(data) for data in texts.values()])
    return path


def _relabel(path: Path, sizes: Sequence[int]) -> None:
    """Mark stored members as compressed with zstandard, which this Python cannot write itself.

    sizes: of the members when they are unpacked, in bytes.
    """
    with zipfile.ZipFile(path) as archive:
        offsets = [info.header_offset for info in archive.infolist()]
        directory = archive.start_dir
    data = bytearray(path.read_bytes())
    for offset, size in zip(offsets, sizes, strict=True):
        data[offset + 8 : offset + 10] = ZSTANDARD.to_bytes(2, "little")
        data[offset + 22 : offset + 26] = size.to_bytes(4, "little")
    at = directory
    for size in sizes:
        data[at + 10 : at + 12] = ZSTANDARD.to_bytes(2, "little")
        data[at + 24 : at + 28] = size.to_bytes(4, "little")
        at += 46 + sum(int.from_bytes(data[at + i : at + i + 2], "little") for i in (28, 30, 32))
    path.write_bytes(data)
