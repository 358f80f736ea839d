"""Failures of RL: estimators against enumeration, sentences that turn with the numbers, one whole run."""

import itertools
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve import DEFAULT_MODEL
from trainer.failures import calibration, mode_collapse, overoptimization
from trainer.failures.arms import START, Arms, Point, every_seed, points_of
from trainer.failures.curves import Measured
from trainer.failures.estimators import best_of_n, best_of_n_kl, expected_distinct
from trainer.failures.intervals import draws_of, mean_band
from trainer.failures.overoptimization import route_numbers
from trainer.failures.replies import Reply
from trainer.failures.run import FAILURES, recipe_of
from trainer.recipe import load_recipe

SEEDS = (3, 5)
PROBLEMS = 40


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=7), st.data())
def test_best_of_n_is_the_mean_over_all_subsets(samples: list[tuple[int, int]], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(samples)))
    proxy, value = [one[0] for one in samples], [one[1] for one in samples]
    best = []
    for subset in itertools.combinations(range(len(samples)), n):
        highest = max(proxy[i] for i in subset)
        best.append(np.mean([value[i] for i in subset if proxy[i] == highest]))
    assert best_of_n(proxy, value, n) == pytest.approx(np.mean(best))


def test_best_of_n_of_many_problems_at_once() -> None:
    proxy = np.random.default_rng(0).integers(0, 4, (5, 2, 9)).astype(float)
    value = np.random.default_rng(1).random((5, 2, 9))
    whole = best_of_n(proxy, value, 4)
    assert whole.shape == (5, 2)
    assert whole[3, 1] == pytest.approx(best_of_n(proxy[3, 1], value[3, 1], 4))
    with pytest.raises(ValueError, match="n: 10 is wrong because there are 9"):
        best_of_n(proxy, value, 10)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_kl_of_best_of_n_is_that_of_the_largest_of_n_uniforms(n: int) -> None:
    u = (np.arange(200_000) + 0.5) / 200_000
    density = n * u ** (n - 1)
    assert best_of_n_kl(n) == pytest.approx(np.mean(density * np.log(density)), abs=1e-4)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=8), st.data())
def test_expected_distinct_is_the_mean_over_all_subsets(groups: list[int], data: st.DataObject) -> None:
    m = data.draw(st.integers(1, len(groups)))
    brute = np.mean([len(set(subset)) for subset in itertools.combinations(groups, m)])
    assert expected_distinct(groups, m) == pytest.approx(brute)
    assert expected_distinct(groups, len(groups) + 1) is None


def test_bootstrap_has_the_variance_of_problems_and_of_seeds() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=(50, 1)) + np.zeros((1, 3)), np.zeros((50, 1)) + rng.normal(size=(1, 3))):
        means = [values[p][:, s].mean() for p, s in draws_of(50, 3, 4000)]
        effect = values[:, 0] if np.ptp(values[:, 0]) else values[0]
        assert np.std(means) == pytest.approx(effect.std(ddof=1) / math.sqrt(len(effect)), rel=0.05)
    with pytest.raises(ValueError, match="seeds: 1"):
        mean_band(np.zeros((5, 1, 2)))


def curves(true: Sequence[float], proxy: Sequence[float]) -> np.ndarray:
    """[problems, seeds, places, 3] about these means, with the noise of problems."""
    rng = np.random.default_rng(0)
    values = np.zeros((200, 3, len(true), 3))
    values[..., 0] = np.array(proxy) + rng.normal(0, 0.1, (200, 3, 1))
    values[..., 1] = rng.random((200, 1, 1)) < np.array(true)
    values[..., 2] = np.arange(len(true))
    return values


def test_the_sentence_on_over_optimisation_turns_with_the_true_reward() -> None:
    proxy = [0.2, 0.5, 0.8, 0.9]
    for true, said, unsaid in (
        ([0.4, 0.7, 0.6, 0.3], "rises from", "not shown"),
        ([0.7, 0.7, 0.5, 0.3], "while the true reward falls from", "rises from"),
        ([0.3, 0.5, 0.6, 0.7], "no fall from its peak", "falls"),
        ([0.5, 0.5, 0.5, 0.5], "without a rise or a fall", "falls to"),
    ):
        route = route_numbers("best of n", "n =", [1, 2, 4, 8], curves(true, proxy))
        assert route["fall"]["low"] <= route["fall"]["mean"] <= route["fall"]["high"]
        trained = route | {"name": "RL with grpo"}
        first, second = overoptimization.sentences({"routes": [route, trained]})
        assert said in first
        assert unsaid not in first
        assert ("not shown" in first) == (not overoptimization.over_optimizes(route))
        assert second == first.replace("Best of n", "RL with grpo")
        assert first.startswith(f"Best of n takes the proxy from {route['proxy']['mean'][0]:.2f} to ")
    # The proxy has to hold while the true reward falls: both falling is a policy that breaks.
    broken = route_numbers("grpo", "step", [0, 1, 2, 3], curves([0.4, 0.7, 0.6, 0.3], [0.2, 0.9, 0.5, 0.1]))
    assert not overoptimization.over_optimizes(broken)


def test_a_peak_of_noise_is_no_peak() -> None:
    """The highest of many noisy values, less the last, is no fall where the means are equal."""
    rng = np.random.default_rng(0)
    shown = 0
    for _ in range(8):
        values = np.zeros((60, 3, 12, 3))
        values[..., 1] = rng.random((60, 3, 12)) < 0.5
        route = route_numbers("grpo", "step", list(range(12)), values)
        shown += overoptimization.over_optimizes(route)
    assert shown <= 1


def test_every_seed_has_all_stages_and_names_its_own() -> None:
    recipe = load_recipe(recipe_of("mode-collapse"))
    arms = every_seed(recipe, SEEDS, thinks=True)
    assert arms.stages == {
        name: [f"{name}_seed3", f"{name}_seed5"] for name in ("grpo", "entropy_bonus", "kl_penalty")
    }
    assert {stage.start for stage in arms.recipe.stages} == {str(DEFAULT_MODEL)}
    assert [stage.seed for stage in arms.recipe.stages] == [3, 3, 3, 5, 5, 5]
    assert arms.thinks
    points = points_of(arms, Path("run"))
    assert points[0] == Point(START, 0, 0, DEFAULT_MODEL)
    assert points[4] == Point("grpo", 3, 40, Path("run/grpo_seed3/checkpoint"))
    assert points[1].checkpoint == Path("run/grpo_seed3/kept/step-00000010")
    for change, message in (
        ("stages.grpo.keep_every=0", "stages.grpo.keep_every: 0"),
        ("stages.grpo.modes.no_think=0.5", r"modes.no_think: \[0.5, 1.0\]"),
        ("stages.grpo.collapse.window=3", "stages.grpo.collapse: "),
        ('stages.kl_penalty.start="grpo"', "stages.kl_penalty.start: 'grpo'"),
    ):
        with pytest.raises(ValueError, match=message):
            every_seed(load_recipe(recipe_of("mode-collapse"), [change]), SEEDS)
    with pytest.raises(ValueError, match=r"seeds: \[3\]"):
        every_seed(recipe, [3])


def test_every_seed_has_a_reward_model_of_its_own() -> None:
    arms = every_seed(load_recipe(recipe_of("over-optimization")), SEEDS, thinks=True)
    stages = {stage.name: stage for stage in arms.recipe.stages}
    assert list(arms.stages) == ["grpo", "ppo"]
    for arm, names in arms.stages.items():
        for seed, name in zip(SEEDS, names, strict=True):
            (term,) = stages[name].rewards
            assert term.options == {"stage": f"reward_model_seed{seed}"}, arm
            pairs = stages[f"reward_model_seed{seed}"].pairs
            assert pairs.modes.no_think == stages[name].modes.no_think == 0
    asked = every_seed(load_recipe(recipe_of("over-optimization")), SEEDS)
    assert not asked.thinks
    assert {stage.seed for stage in asked.recipe.stages} == set(SEEDS)


def made(failure: str, reply_of: Callable[[random.Random, str, int, float], Reply], samples: int) -> Measured:
    """A measured failure whose replies are made; the float is the share of the way that training has gone."""
    arms: Arms = every_seed(load_recipe(recipe_of(failure)), SEEDS)  # type: ignore[arg-type]
    points = points_of(arms, Path("run"))
    replies = {
        point.name: [
            replace(
                reply_of(random.Random(f"{point.name} {p} {s}"), point.arm, p, point.step / 40),
                problem=f"p{p}",
            )
            for p in range(PROBLEMS)
            for s in range(samples)
        ]
        for point in points
    }
    return Measured(arms, points, replies)


def reply(**members: Any) -> Reply:
    known: dict[str, Any] = {
        "problem": "", "sample": 0, "correct": True, "answer": "1", "group": 0, "answer_probability": 0.5,
        "sampled": 10, "entropy": 1.0, "kl": 0.0, "text": "", "thinking": None, "answer_text": "",
        "thinking_tokens": 0, "max_tokens": 20, "stop_cause": "natural", "finish_reason": "stop",
    }  # fmt: skip
    return Reply(**known | members)


@pytest.mark.parametrize("narrows", [True, False])
def test_the_sentence_on_mode_collapse_turns(narrows: bool) -> None:
    def reply_of(rng: random.Random, arm: str, problem: int, done: float) -> Reply:
        way = done if narrows else -done
        if arm == "entropy_bonus":
            way /= 4
        answer = 0 if rng.random() < 0.5 + way / 2 else rng.randint(1, 5)
        return reply(correct=answer == 0, group=answer, entropy=2.0 - way + rng.random() / 10)

    numbers = mode_collapse.mode_collapse_numbers(made("mode-collapse", reply_of, 8), 8)
    plain, bonus, penalty = numbers["arms"]
    assert plain["change"]["entropy"]["mean"] == pytest.approx(-0.1 if narrows else 0.1, abs=0.01)
    first, second = mode_collapse.sentences(numbers)
    assert ("its modes collapse" in first) == narrows
    assert ("no collapse is shown" in first) != narrows
    assert "distinct answers among 8 replies" in first
    assert ("entropy_bonus keeps entropy" in second) == narrows
    assert ("entropy_bonus loses entropy" in second) != narrows
    assert "kl_penalty does not clearly change entropy" in second
    assert ("at a cost in accuracy" in second) == narrows
    assert bonus["against"]["entropy"]["mean"] == pytest.approx(0.075 if narrows else -0.075, abs=0.01)
    assert penalty["against"]["entropy"]["low"] < 0 < penalty["against"]["entropy"]["high"]
    assert FAILURES["mode-collapse"].draw(numbers).startswith(b"\x89PNG")


@pytest.mark.parametrize("worse", [True, False])
def test_the_sentence_on_calibration_turns(worse: bool) -> None:
    """Confidence 0.6 and right in 60 %; at the other end of training confidence 0.95, as often right."""

    def reply_of(rng: random.Random, arm: str, problem: int, done: float) -> Reply:
        sure = done if worse else 1 - done
        # By votes: nine in ten agree with the first answer, which is right for six problems in ten.
        agrees = rng.random() < (0.95 if sure > 0.5 else 0.6)
        right = (problem % 10 < 6) == agrees
        confidence = 0.6 + 0.35 * sure
        return reply(
            correct=right,
            group=0 if right else 1 + rng.randint(0, 5 * (1 - agrees)),
            answer_probability=confidence,
        )

    numbers = calibration.calibration_numbers(made("calibration", reply_of, 10), 10)
    (arm,) = numbers["arms"]
    tokens = arm["sources"]["answer_probability"]
    assert tokens["confidence"]["mean"] == pytest.approx(
        [0.6 + 0.35 * (s if worse else 1 - s) for s in (0, 0.25, 0.5, 0.75, 1)]
    )
    # One bin holds all confidences: its error is the difference of the means, of each seed by itself.
    confidence, right = (tokens[name]["mean"][-1] for name in ("confidence", "accuracy"))
    assert abs(tokens["overconfidence"]["mean"][-1]) == pytest.approx(abs(confidence - right))
    assert len(tokens["bins"][0]) == 1
    assert tokens["bins"][0][0]["n"] == PROBLEMS * 10 * len(SEEDS)
    said = calibration.sentences(numbers)[1]
    assert ("calibration gets worse" in said) == worse
    assert ("gets better, against what was reported" in said) != worse
    assert FAILURES["calibration"].draw(numbers).startswith(b"\x89PNG")


def test_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two seeds, two steps, and the same command again, which draws nothing anew."""
    from trainer.cli import main

    changes = {
        "stages.grpo.steps": 2,
        "stages.grpo.keep_every": 1,
        "stages.grpo.prompts_per_step": 2,
        "stages.grpo.group_size": 4,
        "stages.grpo.data.0.levels": "{1=1}",
        "stages.grpo.rollouts": '{backend="transformers", max_tokens=24, answer_tokens=12}',
        "failure.limit": 4,
        "failure.samples": 4,
        "threads": 1,
    }
    command = ["failure", "calibration", "--start", str(DEFAULT_MODEL), "--seeds", "0", "1"]
    command += ["--out", str(tmp_path)]
    for key, value in changes.items():
        command += ["--set", f"{key}={value}"]
    assert main(command) == 0
    report = tmp_path / "failure"
    numbers = json.loads((report / "calibration.json").read_text("utf-8"))
    assert numbers["arms"][0]["steps"] == [0, 1, 2]
    assert all(sentence in capsys.readouterr().out for sentence in numbers["sentences"][:1])
    drawn = sorted((report / "replies").iterdir())
    assert [path.stem for path in drawn] == sorted(
        ["start_seed0_step0", *(f"grpo_seed{seed}_step{step}" for seed in (0, 1) for step in (1, 2))]
    )
    start = json.loads((report / "replies" / "start_seed0_step0.json").read_text("utf-8"))["replies"]
    assert len(start) == 16
    # Nothing is as near to the start as itself.
    assert max(abs(one["kl"]) for one in start) < 1e-4
    times = [path.stat().st_mtime_ns for path in drawn]
    assert main(command) == 0
    assert [path.stat().st_mtime_ns for path in drawn] == times
