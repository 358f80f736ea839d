"""A step's rollouts on the default model: groups, refill, partial rollouts, and their state."""

import json
from pathlib import Path
from typing import Any

import pytest
import rl_runs
from accelerate import Accelerator
from transformers import AutoTokenizer

from serve import DEFAULT_MODEL
from serve.formats import load_format
from trainer.recipe.stages import GeneralRL
from trainer.rewards import build_rewards
from trainer.rl.groups import flight_from_json, flight_to_json
from trainer.rl.metrics import rollout_metrics
from trainer.rl.rollout_step import RolloutStep, StepRollouts
from trainer.rl.sampling import ProblemSampler
from trainer.rollouts import open_backend
from trainer.sources import open_sources

FORM = load_format(AutoTokenizer.from_pretrained(DEFAULT_MODEL), DEFAULT_MODEL)


def open_step(**members: Any) -> RolloutStep:
    (stage,) = rl_runs.recipe(**members).stages
    assert isinstance(stage, GeneralRL)
    examples = open_sources(stage.data, 0)
    return RolloutStep(
        stage,
        0,
        examples,
        ProblemSampler(examples, stage.sampling, 0),
        open_backend(stage.rollouts, Path(DEFAULT_MODEL), 0),
        build_rewards(stage.rewards),
        FORM,
        Accelerator(cpu=True),
    )


def replies(result: StepRollouts) -> list[tuple[tuple[int, ...], ...]]:
    return [tuple(rollout.token_ids for rollout in group.rollouts) for group in result.finished]


def test_a_group_shares_its_prompt_and_budget_and_its_samples_differ() -> None:
    result = open_step(
        **rl_runs.THINKING | {"rollouts": rl_runs.THINKING["rollouts"] | {"tokens_per_step": None}}
    ).run(0)
    assert result.kept
    assert all(len(set(group.rewards)) > 1 for group in result.kept)
    for group in result.finished:
        assert {rollout.request.budget for rollout in group.rollouts} == {group.prompt.budget}
        assert {rollout.request.prompt_ids for rollout in group.rollouts} == {group.prompt.prompt_ids}
        assert group.prompt.thinks or group.prompt.budget is None
        assert all(rollout.thinking_tokens <= (group.prompt.budget or 96) for rollout in group.rollouts)
        for rollout, completion in zip(group.rollouts, group.completions, strict=True):
            assert (rollout.stop_cause == "budget") == any(rollout.inserted)
            assert completion.problem == group.prompt.problem
    assert any(len(set(group)) > 1 for group in replies(result))


def test_steps_are_functions_of_the_seed() -> None:
    first, again, other = (open_step().run(step) for step in (3, 3, 4))
    assert replies(first) == replies(again)
    assert replies(first) != replies(other)
    assert len(first.finished) == len(first.kept) == 4


def test_groups_without_a_signal_are_replaced_until_the_rounds_are_used_up() -> None:
    settings = rl_runs.STAGE["rollouts"] | {"refill": 2}
    result = open_step(rollouts=settings, group_size=2, prompts_per_step=6).run(0)
    dropped = len(result.finished) - len(result.kept)
    assert dropped
    assert 1 < result.rounds <= 3
    assert len(result.kept) == 6 or result.rounds == 3
    assert all(len(set(group.rewards)) > 1 for group in result.kept)
    assert [group.prompt.index for group in result.finished] == list(range(len(result.finished)))
    assert rollout_metrics(result.finished)["group/zero_variance"] == pytest.approx(
        dropped / len(result.finished)
    )
    assert len(open_step(group_size=2, prompts_per_step=6).run(0).kept) == 6


def test_partial_rollouts_are_carried_over_with_the_versions_that_sampled_them() -> None:
    step = open_step(**rl_runs.THINKING, steps=20)
    carried, versions = set(), set()
    for number in range(6):
        before = {flight.prompt.key for flight in step.pending}
        result = step.run(number)
        assert result.finished
        in_flight = len(result.kept) + len(step.pending)
        assert in_flight <= 6
        assert before <= {group.prompt.key for group in [*result.finished, *step.pending]}
        carried |= {group.prompt.key for group in result.finished} & before
        versions |= {len(set(r.versions)) for group in result.finished for r in group.rollouts}
        assert len(result.finished) == len({group.prompt.key for group in result.finished})
        restored = [flight_from_json(json.loads(json.dumps(flight_to_json(one)))) for one in step.pending]
        assert restored == step.pending
        model = step._backend.model  # type: ignore[attr-defined]
        step._backend.sync(model, number + 1)
    assert carried
    assert max(versions) > 1


def test_metrics_split_modes_and_the_cut() -> None:
    settings = rl_runs.THINKING | {"rollouts": rl_runs.THINKING["rollouts"] | {"tokens_per_step": None}}
    step = open_step(**settings | {"prompts_per_step": 8})
    metrics = rollout_metrics(step.run(0).finished)
    assert {
        "reward/total",
        "reward/correctness",
        "reward/think",
        "reward/no_think",
        "length/thinking",
    } <= set(metrics)
    assert 0 < metrics["cut/share"] < 1
    assert 0 <= metrics["cut/accuracy"] <= 1
    assert metrics["mode/following"] > 0.5
    assert metrics["entropy"] > 0
    assert rollout_metrics([]) == {}
