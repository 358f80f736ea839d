"""Replies from JSONL files: lm-eval's `samples_*.jsonl`, and lists of generations like those of Qwen."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from evals.bridges.imported import (
    ImportedFile,
    ImportedReply,
    asked_budget,
    label,
    member,
    split_thinking,
    subject,
)
from evals.jsonl import decode_object, read_objects
from evals.problems import Problem
from evals.records import content_hash

_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT.+)\.jsonl")
_GENERATIONS = ("gen", "code")
_PROMPTS = ("prompt", "question", "problem")
_GOLDS = ("gold", "gt", "answer")


def read_jsonl_replies(path: Path, metric: str | None) -> ImportedFile:
    """Read a JSONL file of replies; what wrote it is told from the members of its first line.

    metric: whose value scores a reply, with lm-eval optionally "METRIC,FILTER"; None is the first. Raises
    ValueError naming file and line for what is not understood.
    """
    rows = list(read_objects(path))
    if not rows:
        raise ValueError(f"{path}: no replies in it")
    where, first = rows[0]
    if "resps" in first and "doc_id" in first:
        return _lm_eval(path, rows, metric)
    if any(name in first for name in _GENERATIONS):
        return _generations(path, rows)
    raise ValueError(
        f"{where}: neither a sample of lm-eval (doc_id, target, resps, ...) nor a list of generations "
        f"(prompt, answer, gen); it has {', '.join(sorted(first))}"
    )


def _lm_eval(path: Path, rows: list[tuple[str, dict[str, Any]]], metric: str | None) -> ImportedFile:
    named = _SAMPLES.fullmatch(path.name)
    task = named["task"] if named else path.stem
    wanted, _, chosen = (metric or "").partition(",")
    # A line for each document and filter: replies are the same in all, scores are those of one filter.
    chosen = chosen or rows[0][1].get("filter", "none")
    settings = _request(rows[0][1], rows[0][0])
    replies = []
    for where, row in rows:
        if row.get("filter", "none") != chosen:
            continue
        metrics = member(row, "metrics", list, where)
        wanted = wanted or (metrics[0] if metrics else "")
        responses = member(row, "resps", list, where)
        texts = [text for texts in responses for text in _texts(texts, "resps", where)]
        # lm-eval scores a document: the score is a reply's own only if it is the only one.
        score = _share(row, wanted, where) if len(texts) == 1 else None
        problem = _document(task, row, where)
        budget = asked_budget(_request(row, where), where)
        replies += [ImportedReply(problem, text, where, budget=budget, score=score) for text in texts]
    if not replies:
        raise ValueError(f"{path}: no sample has the filter {chosen!r}; give METRIC,FILTER with one it has")
    model, version = _results(path, named["date"] if named else None)
    return ImportedFile(
        path,
        f"lm-eval {version}" if version else "lm-eval",
        model,
        _separated(replies),
        {task: f"{wanted},{chosen}"},
        {
            "temperature": settings.get("temperature"),
            "max_tokens": settings.get("max_tokens", settings.get("max_gen_toks")),
            "seed": settings.get("seed"),
        },
    )


def _document(task: str, row: dict[str, Any], where: str) -> Problem:
    doc = member(row, "doc", dict, where)
    target = str(member(row, "target", (str, int, float), where))
    prompt = str(_arguments(row, where).get("arg_0", ""))
    return Problem(
        id=f"{task}/{member(row, 'doc_id', int, where)}",
        problem=prompt,
        # GSM8K's targets are worked solutions that end in "#### 4".
        answer=target.rpartition("####")[2].strip(),
        level=label(doc, "level"),
        subject=subject(doc, "subject", "type"),
        set=task,
    )


def _texts(texts: Any, name: str, where: str) -> list[str]:
    texts = texts if isinstance(texts, list) else [texts]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(
            f"{where}: member {name!r} holds {texts!r:.80}; expected texts, as tasks that generate have them"
        )
    return texts


def _share(row: dict[str, Any], metric: str, where: str) -> float:
    value = row.get(metric)
    if isinstance(value, bool | int | float) and 0 <= value <= 1:
        return float(value)
    raise ValueError(
        f"{where}: metric {metric!r} is {value!r:.80}, not a share of full credit; this sample has "
        f"{', '.join(map(str, row['metrics']))}"
    )


def _request(row: dict[str, Any], where: str) -> dict[str, Any]:
    """The generation settings of a sample's request."""
    settings = _arguments(row, where).get("arg_1")
    return settings if isinstance(settings, dict) else {}


def _arguments(row: dict[str, Any], where: str) -> dict[str, Any]:
    """What the model was given: arg_0 the prompt, arg_1 the settings."""
    given: dict[str, dict[str, Any]] = member(row, "arguments", dict, where)
    return next(iter(given.values()), {})


def _results(path: Path, date: str | None) -> tuple[str | None, str | None]:
    """Model and lm-eval's version from the results that lm-eval wrote beside its samples, where they are."""
    results = path.with_name(f"results_{date}.json")
    if date is None or not results.is_file():
        return None, None
    content = decode_object(results.read_bytes(), str(results))
    config = content.get("config")
    arguments = config.get("model_args") if isinstance(config, dict) else None
    name = arguments.get("model") if isinstance(arguments, dict) else None
    return name or content.get("model_name"), content.get("lm_eval_version")


def _generations(path: Path, rows: list[tuple[str, dict[str, Any]]]) -> ImportedFile:
    replies = []
    for where, row in rows:
        name = _one_of(row, _GENERATIONS, where)
        texts = _texts(row[name], name, where)
        scores = row.get("score")
        if not (isinstance(scores, list) and len(scores) == len(texts)):
            scores = [None] * len(texts)
        prompt = str(row[_one_of(row, _PROMPTS, where)])
        given = label(row, "id", "idx", "global_id")
        problem = Problem(
            # Not of the file: the same problem in the file of another budget is the same problem.
            id=content_hash(prompt)[:12] if given is None else str(given),
            problem=prompt,
            answer=str(row[_one_of(row, _GOLDS, where)]),
            level=label(row, "level"),
            subject=subject(row, "subject", "type"),
            set=path.stem,
        )
        replies += [
            ImportedReply(problem, text, where, score=None if score is None else _own_score(score, where))
            for text, score in zip(texts, scores, strict=True)
        ]
    return ImportedFile(path, "generations", None, _separated(replies), {path.stem: "score"})


def _own_score(value: Any, where: str) -> float:
    if isinstance(value, bool | int | float) and 0 <= value <= 1:
        return float(value)
    raise ValueError(f"{where}: member 'score' holds {value!r:.80}, not a share of full credit")


def _one_of(row: dict[str, Any], names: tuple[str, ...], where: str) -> str:
    for name in names:
        if name in row:
            return name
    raise ValueError(f"{where}: none of the members {', '.join(names)}; it has {', '.join(sorted(row))}")


def _separated(replies: list[ImportedReply]) -> list[ImportedReply]:
    """The same replies, thinking and answer apart."""
    parts = split_thinking([reply.answer for reply in replies])
    return [
        replace(
            reply, thinking=thinking, answer=answer, stop_cause="length" if unfinished else reply.stop_cause
        )
        for reply, (thinking, answer, unfinished) in zip(replies, parts, strict=True)
    ]
