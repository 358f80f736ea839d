"""Profiles for tests: a small rising curve whose numbers can be worked out by hand."""

import json
from pathlib import Path
from typing import Any

LEVELS: dict[str, Any] = {"minimal": 4, "low": 10, "medium": 16, "high": 24, "xhigh": 32, "max": "max"}


def row(budget: int | str, accuracy: float, tokens: float) -> dict[str, Any]:
    """A measured budget; the fitted accuracy is the measured one."""
    near = {"low": max(0.0, accuracy - 0.02), "high": min(1.0, accuracy + 0.02)}
    return {"budget": budget, "accuracy": accuracy, "fitted": accuracy, "mean_thinking_tokens": tokens} | near


CURVE = [row(0, 0.2, 0), row(8, 0.4, 8), row(16, 0.8, 14), row(32, 0.9, 20), row("max", 0.95, 25)]
CHAIN = [row(8, 0.3, 8), row(32, 0.6, 30)]


def recommended(**levels: Any) -> dict[str, Any]:
    return {name: {"budget": budget} for name, budget in (LEVELS | levels).items()}


def document(**changes: Any) -> dict[str, Any]:
    """The JSON of a profile with one family, `chain`; `changes` replace members."""
    found: dict[str, Any] = {
        "format": 2,
        "model": "made",
        "checkpoint_sha256": None,
        "axis": "tokens",
        "curve": CURVE,
        "recommended": recommended(),
        "families": {"chain": {"n": 20, "curve": CHAIN, "recommended": recommended(low=12)}},
        "rule": "as made",
    }
    return found | changes


def write_profile(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps(document(**changes)))
    return path
