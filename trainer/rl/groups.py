"""Groups of rollouts: in flight, and finished with their rewards; as JSON for checkpoints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evals.problems import Problem
from trainer.completion import Completion
from trainer.rewards import Scored
from trainer.rl.prompts import PromptGroup
from trainer.rollouts.types import Rollout, RolloutRequest


@dataclass(frozen=True, slots=True)
class Flight:
    """A group whose rollouts are not all finished; `rollouts` is () before its first call."""

    prompt: PromptGroup
    rollouts: tuple[Rollout, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether every rollout has ended."""
        return bool(self.rollouts) and all(ended(rollout) for rollout in self.rollouts)


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """A finished group: rollouts, their texts and their rewards, in one order."""

    prompt: PromptGroup
    rollouts: tuple[Rollout, ...]
    completions: tuple[Completion, ...]
    scores: tuple[Scored, ...]

    @property
    def rewards(self) -> list[float]:
        """Total reward of each rollout."""
        return [score.total for score in self.scores]

    @property
    def right(self) -> list[bool]:
        """Which rollouts have the expected answer."""
        return [score.parts["correctness"] > 0 for score in self.scores]


def ended(rollout: Rollout) -> bool:
    """Whether nothing is to be added to a rollout."""
    return rollout.finish_reason != "unfinished"


def flight_to_json(flight: Flight) -> dict[str, Any]:
    """JSON values from which `flight_from_json` makes the same group."""
    return asdict(flight)


def flight_from_json(values: Mapping[str, Any]) -> Flight:
    """Inverse of `flight_to_json`."""
    prompt = dict(values["prompt"])
    problem = dict(prompt["problem"])
    problem["messages"] = tuple(tuple(message) for message in problem["messages"])
    prompt |= {"problem": Problem(**problem), "prompt_ids": tuple(prompt["prompt_ids"])}
    return Flight(PromptGroup(**prompt), tuple(_rollout(rollout) for rollout in values["rollouts"]))


def _rollout(values: Mapping[str, Any]) -> Rollout:
    request = dict(values["request"])
    request["prompt_ids"] = tuple(request["prompt_ids"])
    tokens = {name: tuple(values[name]) for name in ("token_ids", "logprobs", "inserted", "versions")}
    return Rollout(**{**values, **tokens, "request": RolloutRequest(**request)})
