"""What training cost: tokens sampled, tokens trained on, wall time; and what a recipe may sample at most."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from trainer.clock import read_seconds
from trainer.preference.gather import REPLIES
from trainer.progress.records import read_records
from trainer.recipe import Recipe
from trainer.recipe.preference import PairStage
from trainer.recipe.stages import AnyStage, Distill, Fusion, RLStage


@dataclass(frozen=True, slots=True)
class Account:
    """rollout_tokens: sampled, not inserted. trained_tokens: with a loss, counted each time they have one."""

    rollout_tokens: float
    trained_tokens: float
    seconds: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def allowance(recipe: Recipe) -> int:
    """The most tokens that a run samples to train on: replies times max_tokens, of all stages.

    Groups that `rollouts.refill` samples anew are not counted: how many is not known before.
    """
    return sum(map(_allowed, recipe.stages))


def _allowed(stage: AnyStage) -> int:
    if isinstance(stage, RLStage):
        return stage.steps * stage.prompts_per_step * stage.group_size * stage.rollouts.max_tokens
    if isinstance(stage, PairStage) and stage.pairs.problems is not None:
        assert stage.pairs.rollouts is not None
        problems = stage.pairs.problems + stage.pairs.held_out
        return problems * stage.pairs.samples * stage.pairs.rollouts.max_tokens
    if isinstance(stage, Fusion) and stage.rejection is not None:
        return stage.rejection.problems * stage.rejection.samples * stage.rejection.rollouts.max_tokens
    if isinstance(stage, Distill):
        off = 0 if stage.off_policy is None else stage.off_policy.problems * stage.off_policy.samples
        on = 0 if stage.on_policy is None else stage.on_policy.steps * stage.on_policy.prompts_per_step
        return (off + on) * stage.rollouts.max_tokens
    return 0


def account_of(recipe: Recipe, run: Path) -> Account:
    """What all finished stages of a run took."""
    return Account(
        rollout_tokens=sum(_sampled(stage, run / stage.name) for stage in recipe.stages),
        trained_tokens=sum(_trained(stage, run / stage.name) for stage in recipe.stages),
        seconds=sum(read_seconds(run / stage.name) for stage in recipe.stages),
    )


def sampled_before(recipe: Recipe, stage: AnyStage, run: Path) -> float:
    """Tokens sampled before a stage trains: by earlier ones, and by itself unless it samples as it trains."""
    before = takewhile(lambda other: other.name != stage.name, recipe.stages)
    tokens = sum(_sampled(other, run / other.name) for other in before)
    return tokens + (0.0 if isinstance(stage, RLStage) else _sampled(stage, run / stage.name))


def _sampled(stage: AnyStage, folder: Path) -> float:
    if isinstance(stage, RLStage):
        return _processed(folder)
    if isinstance(stage, PairStage):
        records = read_records(folder / REPLIES)
        return float(sum(reply["inserted"].count(0) for record in records for reply in record["replies"]))
    if isinstance(stage, Fusion) and stage.rejection is not None:
        return float(sum(reply["tokens"] for reply in _lines((folder / "rejection").glob("*.jsonl"))))
    if isinstance(stage, Distill):
        taught = sum(reply["inserted"].count(0) for reply in read_records(folder / "teacher.jsonl"))
        return taught + _processed(folder / "on_policy")
    return 0.0


def _trained(stage: AnyStage, folder: Path) -> float:
    if isinstance(stage, RLStage):
        records = read_records(folder / "metrics.jsonl")
        return float(sum(record.get("tokens/trained", 0.0) for record in records))
    if isinstance(stage, Distill):
        return _processed(folder / "off_policy") + _processed(folder / "on_policy")
    return _processed(folder)


def _processed(folder: Path) -> float:
    """Tokens that the stage's progress has counted."""
    records = read_records(folder / "metrics.jsonl")
    return float(records[-1]["tokens"]) if records else 0.0


def _lines(paths: Iterable[Path]) -> Iterable[dict[str, Any]]:
    for path in paths:
        for line in path.read_text("utf-8").splitlines():
            yield json.loads(line)
