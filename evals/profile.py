"""The thinking profile of a checkpoint: its budget curve and the budgets of effort levels, kept beside it.

`thinking_profile.json`, format 2; `serve.profile` reads it:

- `model`: the served name. `checkpoint_sha256`: hash of the checkpoint's files, see `serve.checkpoint`, null
  when no checkpoint was given; `checkpoint_files`: those files' own hashes.
- `problems`: {sets, n, samples, sha256}, the last over their content hashes; `axis`, `grader`, `sampling`,
  `mode` and `versions` are the run's.
- `curve`: [{budget, n, accuracy, low, high, fitted, mean_thinking_tokens}], 95 % intervals clustered by
  problem; `fitted` is the accuracy to expect, from a curve through all budgets.
- `recommended`: {minimal, low, medium, high, xhigh, max}, each {budget, at_least, at_most, share, accuracy},
  see `evals.recommendation`; `rule`: how they were chosen; `share_of`: "peak" or "gain".
- `families`: {name: {n, curve, recommended}}, the same for each kind of problem: of thinkmath its families,
  else the problem set. n: problems; kinds with fewer than `FEWEST` are left out.
- `natural_thinking_tokens`: {n, unfinished, quantiles}: how long the model thinks without a budget; a
  quantile among the unfinished is null.
- `early_stop`: {text, ids}, what was inserted where thinking was cut, null where the server did not tell.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evals.budgets import Budget, axis_of
from evals.levels import LevelRule
from evals.recommendation import recommendation
from evals.records import content_hash
from evals.summary.curve import measured
from evals.summary.outcomes import Outcome, outcomes
from evals.summary.points import accuracy, mean
from evals.summary.replies import Run, read_run
from serve.checkpoint import checkpoint_files, checkpoint_hash
from serve.profile import FORMAT, PROFILE

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
THINKMATH = "thinkmath"
FEWEST = 20
"""Problems of a family that a curve of its own needs."""


def profile(
    directory: Path,
    checkpoint: Path | None = None,
    grader: str = "thinkdial",
    rule: LevelRule | None = None,
) -> dict[str, Any]:
    """The profile of a run, as JSON values.

    checkpoint: the folder of the model that was measured, to be identified by its hash. rule: what the levels
    promise; None is the default. Raises ValueError where there is no run, no reply, or no checkpoint, or the
    rule needs what was not measured.
    """
    rule = rule or LevelRule()
    run = read_run(directory, grader)
    found = outcomes(run)
    run.grades.save()
    if not found:
        raise ValueError(f"{directory}: the run holds no reply; sweep it first")
    settings, plan = run.manifest["settings"], run.manifest["plan"]
    files = None if checkpoint is None else checkpoint_files(checkpoint)
    format = settings.get("thinking_format")
    return {
        "format": FORMAT,
        "model": settings["model"],
        "checkpoint_sha256": None if files is None else checkpoint_hash(files),
        "checkpoint_files": files,
        "problems": {
            "sets": settings["problems"],
            "n": len(plan["problems"]),
            "samples": plan["samples"],
            "sha256": content_hash(sorted(plan["problems"].values())),
        },
        "axis": axis_of(run.budgets),
        "grader": run.grader,
        "mode": settings["mode"],
        "sampling": settings["sampling"],
        "rule": rule.text,
        "share_of": rule.of,
        **_curve(found, run.budgets, rule),
        "families": _families(found, run.budgets, rule),
        "natural_thinking_tokens": natural_lengths(run),
        "early_stop": None if format is None else {"text": format["stop_text"], "ids": format["stop_ids"]},
        "versions": run.manifest["versions"],
    }


def write_profile(
    directory: Path,
    out: Path | None = None,
    checkpoint: Path | None = None,
    grader: str = "thinkdial",
    rule: LevelRule | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Write the profile to `out`, else into the checkpoint's folder, else into the run's; replaced whole."""
    made = profile(directory, checkpoint, grader, rule)
    path = out or (checkpoint or directory) / PROFILE
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(made, indent=1, allow_nan=False) + "\n", "utf-8")
    os.replace(temporary, path)
    return path, made


def family_of(outcome: Outcome) -> str | None:
    """The kind of problem: thinkmath's own families, else the problem set; None where it is not known."""
    return outcome.subject if outcome.set == THINKMATH else outcome.set


def _curve(found: Sequence[Outcome], budgets: Sequence[Budget], rule: LevelRule) -> dict[str, Any]:
    """`curve` and `recommended`."""
    by_budget = measured({b: [o for o in found if o.budget == b] for b in budgets})
    chosen = recommendation(by_budget, rule)
    curve = [
        {
            "budget": budget,
            **accuracy(replies),
            "fitted": fitted,
            "mean_thinking_tokens": mean(o.thinking_tokens for o in replies),
        }
        for (budget, replies), fitted in zip(by_budget.items(), chosen.pop("fitted"), strict=True)
    ]
    return {"curve": curve, **chosen}


def _families(found: Sequence[Outcome], budgets: Sequence[Budget], rule: LevelRule) -> dict[str, Any]:
    members: dict[str, list[Outcome]] = {}
    for outcome in found:
        family = family_of(outcome)
        if family is not None:
            members.setdefault(family, []).append(outcome)
    sizes = {family: len({o.problem for o in replies}) for family, replies in members.items()}
    return {
        family: {"n": sizes[family], **_curve(members[family], budgets, rule)}
        for family in sorted(members)
        if sizes[family] >= FEWEST
    }


def natural_lengths(run: Run) -> dict[str, Any] | None:
    """Quantiles of thinking without a budget (inverted empirical distribution); None where nothing is known.

    Thinking that ran out of tokens is longer than what was seen of it, and counted as longer than all that
    ended by itself.
    """
    free = [
        r
        for r in run.replies
        if r.thinking_tokens is not None and (r.kind == "trace" or (r.kind == "direct" and r.budget == "max"))
    ]
    ended = sorted(r.thinking_tokens or 0 for r in free if not r.unfinished)
    if not free:
        return None
    places = {str(q): int(np.ceil(q * len(free))) - 1 for q in QUANTILES}
    return {
        "n": len(free),
        "unfinished": len(free) - len(ended),
        "quantiles": {q: ended[place] if place < len(ended) else None for q, place in places.items()},
    }
