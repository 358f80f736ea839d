"""Replies from inspect's logs: `.eval` (a zip of JSON files) and `.json`.

The format is that of inspect_ai 0.3.285, log version 2 and 3; older logs differ in what is left out.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from evals.bridges.imported import (
    ImportedFile,
    ImportedReply,
    asked_budget,
    label,
    member,
    split_thinking,
    subject,
)
from evals.jsonl import decode_object
from evals.problems import Problem

ATTACHMENT = "attachment://"
MOST_BYTES = 2**31
"""Of an archive, unpacked: a small file may unpack to more than any machine holds."""

ZSTANDARD = 93
"""Zip's number for the compression of newer `.eval` files, which Python's zipfile reads from 3.14 on."""
_LOCAL_HEADER = 30
_SCORES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_FINISH = {"max_tokens": "length", "model_length": "length"}


def read_inspect_log(path: Path, metric: str | None) -> ImportedFile:
    """Read a log; an interrupted one gives the samples it has.

    metric: the scorer whose value scores a reply, None for the first. Raises ValueError naming the file and
    the sample for what is not understood.
    """
    if path.suffix == ".eval":
        header, samples = _read_zip(path)
    else:
        log = decode_object(path.read_bytes(), str(path))
        header, samples = log, iter(member(log, "samples", list, str(path)))
    evaluation = member(header, "eval", dict, str(path))
    config = {
        **(header.get("plan") or {}).get("config", {}),
        **(evaluation.get("model_generate_config") or {}),
    }
    task = str(member(evaluation, "task", str, str(path))).rpartition("/")[2]
    reader = _Reader(path, task, asked_budget(config, str(path)), config.get("seed"), metric)
    found = sorted(samples, key=lambda sample: (str(sample.get("id")), sample.get("epoch", 1)))
    replies = [reply for sample in found for reply in reader.replies(sample)]
    packages = evaluation.get("packages") or {}
    return ImportedFile(
        path,
        f"inspect {packages['inspect_ai']}" if "inspect_ai" in packages else "inspect",
        evaluation.get("model"),
        replies,
        {task: reader.metric} if reader.metric else {},
        {name: config.get(name) for name in ("temperature", "top_p", "top_k", "max_tokens", "seed")},
        reader.failed,
    )


class _Reader:
    def __init__(self, path: Path, task: str, budget: Any, seed: int | None, metric: str | None) -> None:
        self.metric = metric
        self.failed: list[str] = []
        self._path, self._task, self._budget, self._seed = path, task, budget, seed

    def replies(self, sample: dict[str, Any]) -> Iterator[ImportedReply]:
        """The reply of a sample; none if it failed before there was one."""
        where = f"{self._path}: sample {sample.get('id')!r}, epoch {sample.get('epoch')}"
        output = sample.get("output") or {}
        choices = output.get("choices") or []
        if sample.get("error") or not choices:
            reason = (sample.get("error") or {}).get("message", "no reply")
            self.failed.append(f"{where}: {reason}")
            return
        attachments = sample.get("attachments") or {}
        message = member(choices[0], "message", dict, where)
        thinking, answer, unfinished = _content(message.get("content"), attachments, where)
        stop = choices[0].get("stop_reason")
        usage = _Usage.of(output.get("usage") or {})
        yield ImportedReply(
            problem=self._problem(sample, attachments, where),
            answer=answer,
            where=where,
            thinking=thinking,
            budget=self._budget,
            score=self._score(sample.get("scores") or {}, where),
            finish_reason=_FINISH.get(stop, stop),
            stop_cause="length" if unfinished else None,
            thinking_tokens=usage.reasoning,
            answer_tokens=usage.answer,
            generated_tokens=usage.output,
            prompt_tokens=usage.prompt,
            seconds=output.get("time"),
            seed=self._seed,
        )

    def _problem(self, sample: dict[str, Any], attachments: dict[str, str], where: str) -> Problem:
        given = member(sample, "input", (str, list), where)
        if isinstance(given, list):
            users = [turn for turn in given if turn.get("role") == "user"]
            given = _content(users[-1].get("content"), attachments, where)[1] if users else ""
        target = member(sample, "target", (str, list), where)
        metadata = sample.get("metadata") or {}
        return Problem(
            id=f"{self._task}/{member(sample, 'id', (str, int), where)}",
            problem=_resolved(given, attachments),
            answer=str(target if isinstance(target, str) else (target or [""])[0]).strip(),
            level=label(metadata, "level", "difficulty"),
            subject=subject(metadata, "subject", "type", "category"),
            set=self._task,
        )

    def _score(self, scores: dict[str, Any], where: str) -> float | None:
        """Of the chosen scorer, as inspect makes numbers of scores; None for a sample it did not score."""
        if not scores:
            return None
        self.metric = self.metric or next(iter(scores))
        if self.metric not in scores:
            raise ValueError(f"{where}: no score by {self.metric!r}; it has {', '.join(scores)}")
        value = scores[self.metric].get("value")
        if isinstance(value, str):
            value = _SCORES.get(value, _SCORES.get(value.lower(), value))
        if isinstance(value, float) and math.isnan(value):
            return None
        if isinstance(value, bool | int | float) and 0 <= value <= 1:
            return float(value)
        raise ValueError(
            f"{where}: the score by {self.metric!r} is {value!r:.80}, not a share of full credit; "
            f"give one of: {', '.join(scores)}"
        )


@dataclass(frozen=True, slots=True)
class _Usage:
    prompt: int | None
    output: int | None
    reasoning: int | None

    @classmethod
    def of(cls, usage: dict[str, Any]) -> "_Usage":
        cached = sum(usage.get(f"input_tokens_cache_{way}") or 0 for way in ("read", "write"))
        read = usage.get("input_tokens")
        return cls(
            None if read is None else read + cached, usage.get("output_tokens"), usage.get("reasoning_tokens")
        )

    @property
    def answer(self) -> int | None:
        if self.output is None or self.reasoning is None:
            return None
        return self.output - self.reasoning


def _content(content: Any, attachments: dict[str, str], where: str) -> tuple[str | None, str, bool]:
    """(thinking, answer, unfinished) of a message's content: text, or a list of parts."""
    if isinstance(content, str):
        return split_thinking([_resolved(content, attachments)])[0]
    if not isinstance(content, list):
        raise ValueError(f"{where}: content is {content!r:.80}; expected text or a list of parts")
    thinking = [
        _resolved(
            part.get("summary") or "" if part.get("redacted") else part.get("reasoning", ""), attachments
        )
        for part in content
        if part.get("type") == "reasoning"
    ]
    texts = [_resolved(part.get("text", ""), attachments) for part in content if part.get("type") == "text"]
    answer = "\n".join(texts)
    if not thinking:
        return split_thinking([answer])[0]
    return "\n".join(thinking), answer, not answer.strip()


def _resolved(text: str, attachments: dict[str, str]) -> str:
    """A text, or what it refers to: inspect keeps long and repeated texts once, as attachments."""
    if text.startswith(ATTACHMENT):
        return attachments.get(text.removeprefix(ATTACHMENT), text)
    return text


def _read_zip(path: Path) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    try:
        archive = ZipFile(path)
    except BadZipFile as error:
        raise ValueError(f"{path}: not a log of inspect ({error})") from error
    with archive:
        files = {info.filename: info for info in archive.infolist()}
        size = sum(info.file_size for info in files.values())
        if size > MOST_BYTES:
            raise ValueError(
                f"{path}: unpacks to {size:,} bytes, and at most {MOST_BYTES:,} are read; split the log"
            )
        # A log that was interrupted has no header, only what was known at its start.
        name = next((n for n in ("header.json", "_journal/start.json") if n in files), None)
        if name is None:
            raise ValueError(
                f"{path}: not a log of inspect (neither header.json nor _journal/start.json in it)"
            )
        content = {
            n: decode_object(_member_bytes(archive, info, path), f"{path}: {n}")
            for n, info in files.items()
            if n == name or n.startswith("samples/")
        }
    header = content.pop(name)
    return header, iter(content.values())


def _member_bytes(archive: ZipFile, info: ZipInfo, path: Path) -> bytes:
    if info.compress_type != ZSTANDARD:
        return archive.read(info)
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: compressed with zstandard; pip install zstandard") from error
    with path.open("rb") as file:
        # The local header repeats the name and may have other extra fields than the directory.
        file.seek(info.header_offset)
        name, extra = struct.unpack("<HH", file.read(_LOCAL_HEADER)[26:])
        file.seek(name + extra, 1)
        packed = file.read(info.compress_size)
    # Inspect splits large files into several frames. No more than the archive's directory says is unpacked.
    stream = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
    content = bytearray()
    try:
        # A read may end with a frame.
        while piece := stream.read(info.file_size - len(content)):
            content += piece
    except zstandard.ZstdError as error:
        raise BadZipFile(str(error)) from error
    return bytes(content)
