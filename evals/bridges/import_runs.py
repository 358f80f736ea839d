"""Make a run directory of other harnesses' results, so that our statistics work on them.

Every reply becomes a record of kind `direct`; upstream scores lie beside them in `scores.json`. What the
files do not tell, such as token counts, is null in the records.
"""

import hashlib
import platform
import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from evals.bridges.imported import ImportedFile, ImportedReply
from evals.bridges.inspect_logs import read_inspect_log
from evals.bridges.jsonl_replies import read_jsonl_replies
from evals.budgets import Budget, axis_of, sort_budgets
from evals.problems import Problem
from evals.questions import store_questions
from evals.records import Record, content_hash, problem_hash
from evals.store import MANIFEST, Store
from evals.summary.scores import Scores

_READERS = {".eval": read_inspect_log, ".json": read_inspect_log, ".jsonl": read_jsonl_replies}
_MISSHAPEN = (
    AttributeError,
    BadZipFile,
    KeyError,
    IndexError,
    NotImplementedError,  # a compression that Python does not know
    OSError,  # an archive whose directory points before its beginning
    OverflowError,
    RuntimeError,  # an archive with a password
    TypeError,
    struct.error,
    zlib.error,
)

UNLIMITED: Budget = "max"
"""The budget of replies of which nobody says one."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import made. failed: samples without a reply, in words."""

    problems: int
    replies: int
    scored: int
    budgets: list[Budget]
    failed: list[str]


def read_file(path: Path, metric: str | None = None) -> ImportedFile:
    """Read a file of replies by its ending. Raises ValueError naming the file for what is wrong."""
    if not path.is_file():
        raise ValueError(
            f"{path} is no file; give samples_*.jsonl of lm-eval, or .eval or .json logs of inspect"
        )
    if path.suffix not in _READERS:
        raise ValueError(f"{path}: files end in .jsonl (lm-eval, generations), .eval or .json (inspect)")
    try:
        return _READERS[path.suffix](path, metric)
    except _MISSHAPEN as error:
        # Logs are deep, and hardly a member of theirs is promised.
        raise ValueError(
            f"{path}: it cannot be read as its ending says ({type(error).__name__}: {str(error)[:200]})"
        ) from error


def import_runs(
    files: Sequence[tuple[Path, Budget | None]],
    out: Path,
    *,
    budget: Budget | None = None,
    model: str | None = None,
    metric: str | None = None,
) -> Imported:
    """Make the run directory `out` of the replies in `files`.

    files: each with its budget, None for what the file says, then `budget`, then "max". Files of one budget
    are further samples. model: a name for whoever replied, where the files do not agree or do not say.
    metric: see the readers. Raises ValueError, before anything is written, for files that are not
    understood or do not go together, and for a directory that holds a run.
    """
    if (out / MANIFEST).exists():
        raise ValueError(f"out: {out} holds a run; an import makes one of its own, so give another directory")
    repeated = [
        str(path) for path, count in Counter(path.resolve() for path, _ in files).items() if count > 1
    ]
    if repeated:
        raise ValueError(f"files: {', '.join(repeated)} is given twice; its replies would count twice")
    read = [(read_file(path, metric), given) for path, given in files]
    model = model or _model(file for file, _ in read)
    problems: dict[str, Problem] = {}
    counts: Counter[tuple[str, Budget]] = Counter()
    records: list[Record] = []
    scores: dict[str, float] = {}
    for file, given in read:
        digest = hashlib.sha256(file.path.read_bytes()).hexdigest()
        for reply in file.replies:
            known = problems.setdefault(reply.problem.id, reply.problem)
            if known.answer != reply.problem.answer:
                raise ValueError(
                    f"{reply.where}: problem {known.id!r} has the gold {reply.problem.answer!r:.80}, another "
                    f"file has {known.answer!r:.80}; these are runs of different problems"
                )
            at = given if given is not None else reply.budget if reply.budget is not None else budget
            place = known.id, UNLIMITED if at is None else at
            record = _record(reply, known, place[1], counts[place], content_hash([digest, model]))
            try:
                Record.from_json(record.to_json())
            except ValueError as error:
                raise ValueError(f"{reply.where}: {error}") from None
            counts[place] += 1
            records.append(record)
            if reply.score is not None:
                scores[record.key] = reply.score
    if not records:
        raise ValueError(f"files: no reply in {', '.join(str(path) for path, _ in files)}")
    budgets = sort_budgets({record.budget for record in records})
    axis = axis_of(budgets)
    plan = {
        "budgets": budgets,
        "samples": max(counts.values()),
        "problems": {problem.id: problem_hash(problem) for problem in problems.values()},
    }
    settings = {
        "problems": sorted({problem.set for problem in problems.values()}),
        "prompt": None,
        "model": model,
        "max_model_len": None,
        "mode": "imported",
        "axis": axis,
        "dialect": None,
        "thinking_format": None,
        "sampling": _sampling([file for file, _ in read]),
        "logprobs": None,
        "files": [{"name": file.path.name, "source": file.source} for file, _ in read],
    }
    versions = {"thinkdial": version("thinkdial"), "python": platform.python_version()}
    with Store.open(out, settings, plan, versions) as store:
        store_questions(out, problems.values())
        for record in records:
            store.add(record)
    if scores:
        metrics = {task: name for file, _ in read for task, name in file.metrics.items()}
        Scores(", ".join(sorted({file.source for file, _ in read})), metrics, scores).write(out)
    failed = [words for file, _ in read for words in file.failed]
    return Imported(len(problems), len(records), len(scores), budgets, failed)


def _record(reply: ImportedReply, problem: Problem, budget: Budget, sample: int, source: str) -> Record:
    return Record(
        key=content_hash(["imported", problem_hash(problem), sample, budget, source]),
        kind="direct",
        problem=problem.id,
        level=problem.level,
        subject=problem.subject,
        chance=None,
        gold=problem.answer,
        sample=sample,
        budget=budget,
        stop_cause=reply.stop_cause,
        thinking_tokens=reply.thinking_tokens,
        inserted_tokens=None,
        answer_tokens=reply.answer_tokens,
        generated_tokens=reply.generated_tokens,
        finish_reason=reply.finish_reason,
        seed=reply.seed,
        seconds=reply.seconds,
        thinking=reply.thinking,
        answer=reply.answer,
        set=problem.set or None,
        prompt_tokens=reply.prompt_tokens,
    )


def _model(files: Any) -> str:
    names = {file.model for file in files if file.model is not None}
    if len(names) == 1:
        return str(names.pop())
    raise ValueError(
        f"model: the files name {', '.join(sorted(names)) or 'none'}; give --model, or import them apart and "
        "compare the runs"
    )


def _sampling(files: Sequence[ImportedFile]) -> dict[str, Any]:
    """What all files agree on; null where they differ or do not say. Thinking or not is sampled alike."""
    told = {
        name: values.pop() if len(values := {file.sampling.get(name) for file in files}) == 1 else None
        for name in ("temperature", "top_p", "top_k", "presence_penalty", "max_tokens", "seed")
    }
    shared = {name: told[name] for name in ("temperature", "top_p", "top_k", "presence_penalty")}
    return {
        "preset": "imported",
        "thinking": shared,
        "no_thinking": shared,
        "max_tokens": told["max_tokens"],
        "seed": told["seed"],
    }
