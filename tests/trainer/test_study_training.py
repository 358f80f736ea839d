"""How a study's arms trained: the numbers of its metrics, its sentences and its picture."""

import json
from pathlib import Path
from typing import Any

import pytest
from scipy import stats as scipy_stats

from trainer.recipe import load_recipe
from trainer.study.arms import spell_out
from trainer.study.seeds import seed_interval
from trainer.study.training import sentences, training_numbers
from trainer.study.training_plot import draw_training

RECIPE = Path(__file__).parents[2] / "trainer" / "recipes" / "grpo_biases.toml"
ARMS = {"grpo": ["grpo_seed0", "grpo_seed1"], "dr_grpo": ["dr_grpo_seed0", "dr_grpo_seed1"]}


def write_metrics(run: Path, stage: str, growth: float, share: float) -> None:
    """Eight steps; wrong replies grow from 20 tokens, right ones stay at 10; two steps have none wrong."""
    lines = []
    for step in range(1, 9):
        metrics: dict[str, Any] = {"step": step, "tokens": 100 * step, "length/right": 10.0}
        if step not in (2, 5):
            metrics["length/wrong"] = 20.0 + growth * step
        metrics |= {"update/near_solved": share, "update/near_hopeless": 0.1}
        lines.append(json.dumps(metrics) + "\n")
    (run / stage).mkdir(parents=True)
    (run / stage / "metrics.jsonl").write_text("".join(lines), "utf-8")


def test_growth_and_shares_against_hand_computed_ones(tmp_path: Path) -> None:
    for stage, growth, share in (
        ("grpo_seed0", 2.0, 0.3),
        ("grpo_seed1", 3.0, 0.4),
        ("dr_grpo_seed0", 0.0, 0.2),
        ("dr_grpo_seed1", 0.5, 0.3),
    ):
        write_metrics(tmp_path, stage, growth, share)
    numbers = training_numbers(ARMS, tmp_path)
    assert numbers is not None
    json.dumps(numbers, allow_nan=False)
    # The first quarter is steps 1 and 2, of which 2 has no wrong reply; the last is steps 7 and 8.
    wrong = numbers["growth"]["length/wrong"]
    assert wrong["by_seed"] == {"grpo": [13.0, 19.5], "dr_grpo": [0.0, 3.25]}
    assert numbers["growth"]["length/right"]["arms"]["grpo"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    found = wrong["differences"]["dr_grpo"]
    assert found["mean"] == pytest.approx((-13 - 16.25) / 2)
    half = scipy_stats.t(1).ppf(0.975) * (16.25 - 13) / 2
    assert found["high"] - found["mean"] == pytest.approx(half)
    assert numbers["share"]["by_seed"]["grpo"] == pytest.approx([0.4, 0.5])
    assert numbers["share"]["differences"]["dr_grpo"]["mean"] == pytest.approx(-0.1)
    first, second = sentences(numbers)
    assert "grpo +16.2" in first
    assert "dr_grpo less grpo is -14.6 [-35.3, +6.0], not clear of 0" in first
    # Both seeds fell by as much, so that the difference is certain.
    assert "dr_grpo less grpo is -10.0 [-10.0, -10.0] points, clear of 0" in second
    assert draw_training(numbers).startswith(b"\x89PNG")


def test_what_all_arms_lack_is_left_out(tmp_path: Path) -> None:
    for stages in ARMS.values():
        for stage in stages:
            (tmp_path / stage).mkdir()
            line = json.dumps({"step": 1, "tokens": 9, "length/right": 4.0}) + "\n"
            (tmp_path / stage / "metrics.jsonl").write_text(line, "utf-8")
    numbers = training_numbers(ARMS, tmp_path)
    assert numbers is not None
    assert numbers["share"] is None
    assert sentences(numbers) == []
    assert draw_training(numbers).startswith(b"\x89PNG")
    (tmp_path / "grpo_seed1" / "metrics.jsonl").unlink()
    assert training_numbers(ARMS, tmp_path) is None


def test_intervals_need_two_seeds() -> None:
    with pytest.raises(ValueError, match="two seeds"):
        seed_interval([1.0])


def test_the_shipped_arms_differ_in_the_two_biases_only() -> None:
    grpo, dr_grpo, *_ = spell_out(load_recipe(RECIPE), [0, 1]).recipe.stages
    different = {name for name in type(grpo).model_fields if getattr(grpo, name) != getattr(dr_grpo, name)}
    assert different == {"name", "objective"}
    before, after = (stage.objective.model_dump() for stage in (grpo, dr_grpo))  # type: ignore[union-attr]
    assert {key for key in before if before[key] != after[key]} == {"advantage_std", "normalisation"}
    assert before["advantage_std"]
