"""Run a curation file: read its sources, run its steps in order, write what was kept and what was dropped."""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from serve.checkpoint import checkpoint_files, checkpoint_hash
from trainer.curation.candidates import Candidate, Filter, as_row
from trainer.curation.config import Curation
from trainer.curation.sampling import Sampler
from trainer.curation.steps import build_step, is_sampled
from trainer.sources.open import open_source

KEPT = "kept.jsonl"
DROPPED = "dropped.jsonl"
REPORT = "report.json"
SETTINGS = "sampling.json"
Progress = Callable[[str], None]


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def curate(curation: Curation, folder: Path, progress: Progress = _to_stderr) -> dict[str, Any]:
    """Curate into `folder`; returns the report that is written there.

    `kept.jsonl` is a `jsonl` source. Replies that steps sampled are stored there too: the same call after a
    kill asks only for those that are missing. What is written does not depend on the machine, except where
    sampling steps do.

    Raises:
        ValueError: a source, step or model that cannot be used, or replies in `folder` of other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    candidates = read_candidates(curation)
    progress(f"{len(candidates)} problems")
    sampler = None if curation.model is None else _open_sampler(curation, folder, progress)
    filters: list[Filter] = []
    for number, step in enumerate(curation.steps):
        try:
            filters.append(build_step(step, curation.seed, sampler))
        except ValueError as error:
            raise ValueError(f"steps.{number} ({step.kind}): {error}") from error
    report: dict[str, Any] = {"sources": len(candidates), "steps": []}
    dropped_rows: list[dict[str, Any]] = []
    for number, (step, run) in enumerate(zip(curation.steps, filters, strict=True)):
        started = monotonic()
        outcome = run(candidates)
        reasons = Counter(dropped.reason for dropped in outcome.dropped)
        for dropped in outcome.dropped:
            place = {"step": number, "kind": step.kind, "reason": dropped.reason}
            dropped_rows.append(place | {"evidence": dropped.evidence} | {"row": as_row(dropped.candidate)})
        report["steps"].append(
            {
                "step": number,
                **step.model_dump(mode="json"),
                "before": len(candidates),
                "kept": len(outcome.kept),
                "dropped": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
            }
        )
        candidates = outcome.kept
        progress(
            f"{step.kind}: {len(candidates)} kept, {len(outcome.dropped)} dropped, "
            f"{monotonic() - started:.1f} s"
        )
    report["kept"] = len(candidates)
    report |= {by: _counts(candidates, by) for by in ("subject", "level", "set")}
    _write_rows(folder / DROPPED, dropped_rows)
    _write_rows(folder / KEPT, map(as_row, candidates))
    _replace(folder / REPORT, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return report


def read_candidates(curation: Curation) -> list[Candidate]:
    """Every example of the sources, in their order, each id once.

    Raises ValueError: a source cannot be read, or two of them have a problem of one id.
    """
    found: dict[str, Candidate] = {}
    for number, source in enumerate(curation.sources):
        try:
            examples = open_source(source, curation.seed * 1000 + number)
        except ValueError as error:
            raise ValueError(f"sources.{number} ({source.kind}): {error}") from error
        assert examples.size is not None
        for index in range(examples.size):
            example = examples.at(index)
            if example.problem.id in found:
                raise ValueError(
                    f"sources.{number} ({source.kind}): the id {example.problem.id!r} is taken by an earlier "
                    "problem; give each problem an id of its own"
                )
            found[example.problem.id] = Candidate(example)
    return list(found.values())


def in_words(report: Mapping[str, Any]) -> str:
    """The report as a table."""
    lines = [f"{'step':<20}{'before':>8}{'kept':>8}{'dropped':>9}   why"]
    for step in report["steps"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in step["dropped"].items())
        dropped = step["before"] - step["kept"]
        lines.append(
            f"{step['kind']:<20}{step['before']:>8}{step['kept']:>8}{dropped:>9}   {reasons}".rstrip()
        )
    lines.append(
        f"{'all':<20}{report['sources']:>8}{report['kept']:>8}{report['sources'] - report['kept']:>9}"
    )
    return "\n".join(lines)


def _open_sampler(curation: Curation, folder: Path, progress: Progress) -> Sampler | None:
    """The sampler over the file's model; None if no step samples."""
    model = curation.model
    if model is None or not any(is_sampled(step) for step in curation.steps):
        return None
    from transformers import AutoTokenizer

    from serve.formats import load_format
    from trainer.rollouts import open_backend

    if not model.checkpoint.is_dir():
        raise ValueError(f"model.checkpoint: there is no folder {str(model.checkpoint)!r}; give one")
    settings = {
        "seed": curation.seed,
        "checkpoint": checkpoint_hash(checkpoint_files(model.checkpoint)),
        "rollouts": {
            name: getattr(model.rollouts, name) for name in ("max_tokens", "answer_tokens", "top_p", "dtype")
        },
    }
    path = folder / SETTINGS
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise ValueError(
            f"{folder} holds replies sampled with another seed, model or rollouts ({path.name}); give "
            "another folder, or remove it"
        )
    _replace(path, json.dumps(settings, indent=2) + "\n")
    form = load_format(AutoTokenizer.from_pretrained(model.checkpoint), model.checkpoint)
    backend = open_backend(model.rollouts, model.checkpoint, curation.seed)
    return Sampler(backend, form, model.rollouts, folder, curation.seed, progress)


def _counts(candidates: Iterable[Candidate], by: str) -> dict[str, int]:
    counts = Counter(str(getattr(candidate.example.problem, by)) for candidate in candidates)
    return dict(sorted(counts.items()))


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    _replace(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _replace(path: Path, content: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(content, encoding="utf-8")
    os.replace(temporary, path)
