"""Measure one checkpoint with a server of its own: budget curve, half-cut traces, mode following.

In the ablation's folder each stage has `curves/STAGE` and `halves/STAGE` (runs of `thinkdial eval sweep`) and
`modes/STAGE.json`, which is written last and ends the measurement.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.budgets import Budget, sort_budgets
from evals.problems import load
from evals.sweep.presets import GREEDY
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings
from serve.checkpoint import checkpoint_files, checkpoint_hash
from serve.launch import start_server
from trainer.ablation.modes import ask_modes
from trainer.recipe.recipe import Ablation

HALF = "50%"


@dataclass(frozen=True, slots=True)
class Measured:
    """A stage to measure. parent: the name of the one it is compared with, None for the first."""

    name: str
    checkpoint: Path
    parent: str | None


def curve_folder(out: Path, name: str) -> Path:
    return out / "curves" / name


def half_folder(out: Path, name: str) -> Path:
    return out / "halves" / name


def modes_file(out: Path, name: str) -> Path:
    return out / "modes" / f"{name}.json"


def curve_budgets(settings: Ablation) -> tuple[Budget, ...]:
    """Thinking off, the recipe's budgets, and no limit."""
    return tuple(sort_budgets([0, *settings.budgets, "max"]))


def measure(stage: Measured, settings: Ablation, out: Path) -> None:
    """Draw what the ablation's folder lacks of a stage; nothing where it is measured already.

    Raises ValueError where the folder holds measurements of other weights, and what sweeps raise.
    """
    claim(stage, out)
    path = modes_file(out, stage.name)
    if path.is_file() and json.loads(path.read_text("utf-8"))["asked"] == _asked(settings):
        return
    with served(stage, out) as base_url:
        draw(stage.name, settings, out, base_url)


def claim(stage: Measured, out: Path) -> None:
    """Hold the ablation's folder for the stage's weights; ValueError where it has those of others."""
    weights = checkpoint_hash(checkpoint_files(stage.checkpoint))
    path = out / "checkpoints" / f"{stage.name}.json"
    if not path.is_file():
        write_whole(path, {"checkpoint": str(stage.checkpoint), "sha256": weights})
    elif json.loads(path.read_text("utf-8"))["sha256"] != weights:
        raise ValueError(
            f"{out} holds measurements of other weights of {stage.name}; give another --out, or remove that "
            "folder"
        )


@contextmanager
def served(stage: Measured, out: Path) -> Iterator[str]:
    """A server of the stage's checkpoint; gives its address."""
    log_path = out / "servers" / f"{stage.name}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with start_server(str(stage.checkpoint), log_path=log_path) as server:
        yield server.base_url


def draw(name: str, settings: Ablation, out: Path, base_url: str) -> None:
    """Draw what the ablation's folder lacks of the stage `name` from a server that has its checkpoint."""
    curve = curve_sweep(settings, curve_folder(out, name))
    run_sweep(curve, base_url)
    run_sweep(_sweep(settings, half_folder(out, name), (0, HALF, "max"), reuse=curve.out), base_url)
    problems = load(settings.problems, limit=settings.limit)[: settings.mode_problems]
    replies = ask_modes(base_url, problems)
    write_whole(modes_file(out, name), {"asked": _asked(settings), "replies": replies})


def curve_sweep(settings: Ablation, out: Path) -> SweepSettings:
    """The sweep that draws a budget curve."""
    return _sweep(settings, out, curve_budgets(settings))


def _sweep(
    settings: Ablation, out: Path, budgets: Sequence[Budget], reuse: Path | None = None
) -> SweepSettings:
    return SweepSettings(
        settings.problems,
        out,
        tuple(budgets),
        limit=settings.limit,
        sampling=GREEDY,
        max_tokens=settings.max_tokens,
        logprobs="off",
        reuse=reuse,
    )


def _asked(settings: Ablation) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude={"stages"})


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write JSON that a kill leaves whole or does not leave."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content) + "\n", "utf-8")
    temporary.replace(path)
