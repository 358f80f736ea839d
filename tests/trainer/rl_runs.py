"""Small RL runs on the default model: short answers without thinking, of which about half are right."""

import json
from pathlib import Path
from typing import Any

from serve import DEFAULT_MODEL
from trainer.context import StageContext
from trainer.recipe import Recipe

STAGE: dict[str, Any] = {
    "kind": "general_rl",
    "name": "rl",
    "steps": 6,
    "prompts_per_step": 4,
    "group_size": 4,
    "checkpoint_every": 2,
    "micro_batch_tokens": 400,
    "optimizer": {"adamw_lr": 1e-3, "warmup": 0.0, "decay": 0.0},
    "data": [{"kind": "thinkmath", "levels": {1: 1, 2: 1}}],
    "modes": {"no_think": 1.0},
    "rollouts": {"backend": "transformers", "max_tokens": 24, "answer_tokens": 12, "temperature": 1.5},
}
THINKING: dict[str, Any] = {
    "prompts_per_step": 6,
    "modes": {"no_think": 0.5, "flagged": 0.5, "multi_turn": 0.3},
    "budget": {"mode": "uniform", "low": 2, "high": 12, "share": 0.5},
    "rollouts": {
        "backend": "transformers",
        "max_tokens": 96,
        "answer_tokens": 12,
        "temperature": 2.0,
        "tokens_per_step": 16,
        "refill": 1,
    },
    "sampling": {"strategy": "prioritised", "pool": 12},
}


def recipe(**members: Any) -> Recipe:
    """A recipe of one RL stage from the default model; `members` are put in STAGE."""
    return Recipe.model_validate(
        {"threads": 1, "model": {"path": str(DEFAULT_MODEL)}, "stages": [STAGE | members]}
    )


def context(run: Path, **members: Any) -> StageContext:
    """The stage of such a recipe, in `run`."""
    settings = recipe(**members)
    (stage,) = settings.stages
    folder = run / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext(settings, stage, 0, Path(DEFAULT_MODEL), run, folder)


def records(folder: Path) -> list[dict[str, Any]]:
    """The records of a stage's metrics."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
