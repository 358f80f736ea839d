"""Look for the reward models that a stage of RL is rewarded by."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.recipe.stages import RLStage
from trainer.rewards.scorer import check_reward_model

if TYPE_CHECKING:
    from trainer.dry_run.checks import Findings


def look_at_reward_models(found: "Findings", stage: RLStage, only: Sequence[str]) -> None:
    """Note what is no reward model, and stages that are neither finished nor to be run with `only`."""
    for term in stage.rewards:
        if term.name != "learned":
            continue
        field = f"stages.{stage.name}.rewards.learned.options"
        path, named = term.options.get("path"), term.options.get("stage")
        if path is not None:
            found.attempt(f"{field}.path", partial(check_reward_model, Path(path)))
        elif only and named not in only and not (found.out / str(named) / "checkpoint").exists():
            found.mistakes.append(
                f"{field}.stage: stage {named!r} is not finished in {found.out}; run it first, or give a "
                "path in its place"
            )
