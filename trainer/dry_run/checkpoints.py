"""Look for the checkpoints that stages begin with and average."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import AutoConfig, PretrainedConfig

from trainer.average.weights import check_alike
from trainer.checkpoints import check_place
from trainer.recipe.average import Average

if TYPE_CHECKING:
    from trainer.dry_run.checks import Findings


def read_config(path: Path) -> PretrainedConfig:
    """The configuration of a checkpoint's folder or of a model on the hub; ValueError if there is none."""
    check_place(path)
    return AutoConfig.from_pretrained(path)


def look_at_place(found: "Findings", place: str, field: str, only: Sequence[str]) -> None:
    """Note a stage that is neither finished nor to be run with `only`, or a path with no checkpoint."""
    if place not in {stage.name for stage in found.recipe.stages}:
        found.attempt(field, lambda: read_config(Path(place)))
    elif only and place not in only and not (found.out / place / "checkpoint").exists():
        found.mistakes.append(
            f"{field}: stage {place!r} is not finished in {found.out}; run it first, or begin elsewhere with "
            "--from CHECKPOINT"
        )


def look_at_average(found: "Findings", stage: Average, only: Sequence[str]) -> None:
    """Note checkpoints that are not there, and those that cannot be averaged."""
    field = f"stages.{stage.name}.checkpoints"
    before = len(found.mistakes)
    for place in stage.checkpoints:
        look_at_place(found, place, field, only)
    names = {other.name for other in found.recipe.stages}
    places = [
        found.out / place / "checkpoint" if place in names else Path(place) for place in stage.checkpoints
    ]
    there = [place for place in places if place.is_dir()]
    if there and len(found.mistakes) == before:
        found.attempt("", lambda: check_alike(there, field))
