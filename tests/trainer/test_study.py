"""Studies: how arms are spelled out, the statistics of problems and seeds, and what verdicts can be."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_ablation import Made, MadeStage, write_stage
from scipy import stats as scipy_stats

from evals.budgets import Budget
from trainer.ablation.measure import Measured
from trainer.recipe import Recipe, load_recipe
from trainer.study.arms import spell_out
from trainer.study.crossed import crossed_difference, verdict_of
from trainer.study.run import write_report

BUDGETS: tuple[Budget, ...] = (0, 4, 16, "max")
RECIPE = Path(__file__).parents[2] / "trainer" / "recipes" / "budget_study.toml"


def test_the_shipped_study_differs_in_budgets_only() -> None:
    study = spell_out(load_recipe(RECIPE), [3, 5])
    assert study.arms == {
        "plain": ["plain_seed3", "plain_seed5"],
        "budgets": ["budgets_seed3", "budgets_seed5"],
    }
    plain, budgets = study.recipe.stages[:2]
    assert (plain.seed, budgets.seed, study.recipe.stages[2].seed) == (3, 3, 5)
    different = {name for name in type(plain).model_fields if getattr(plain, name) != getattr(budgets, name)}
    assert different == {"name", "budget"}
    assert plain.start == budgets.start == study.start
    # The spelled-out recipe is one that a run can keep and read again.
    assert Recipe.model_validate_json(study.recipe.model_dump_json()) == study.recipe


def test_a_trunk_is_trained_once() -> None:
    rl = {"kind": "general_rl", "optimizer": {"adamw_lr": 1e-3}, "steps": 1, "prompts_per_step": 1}
    rl |= {"group_size": 2, "rollouts": {"max_tokens": 64}}
    trunk = {**rl, "name": "trunk"}
    arms = [{**rl, "name": name, "start": "trunk"} for name in "ab"]
    study = spell_out(Recipe.model_validate({"model": {"path": "x/y"}, "stages": [trunk, *arms]}), [0, 1])
    names = [stage.name for stage in study.recipe.stages]
    assert names == ["trunk", "a_seed0", "b_seed0", "a_seed1", "b_seed1"]
    assert study.start == "trunk"
    with pytest.raises(ValueError, match="seeds: "):
        spell_out(study.recipe, [1])
    members = {"model": {"path": "x/y"}, "stages": [trunk, arms[0]]}
    with pytest.raises(ValueError, match="arms of this recipe would be a from trunk"):
        spell_out(Recipe.model_validate(members), [0, 1])


def test_mean_squares_against_a_written_out_analysis() -> None:
    """Sums of squares of the two-way layout, computed by projections."""
    rng = np.random.default_rng(1)
    d = rng.choice([-1.0, 0.0, 1.0], (30, 1)) + rng.normal(0, 0.3, (30, 3)) + rng.normal(0, 0.5, (1, 3))
    d = np.clip(d, -1, 1)
    found = crossed_difference(d)
    assert found is not None
    p, s = d.shape
    rows = np.kron(np.eye(p), np.ones((s, s)) / s)
    columns = np.kron(np.ones((p, p)) / p, np.eye(s))
    whole = np.ones((p * s, p * s)) / (p * s)
    y = d.ravel()
    squares = [y @ m @ y for m in (rows - whole, columns - whole, np.eye(p * s) - rows - columns + whole)]
    freedom = [p - 1, s - 1, (p - 1) * (s - 1)]
    ms = [(squares[0] + 1 / s) / freedom[0], squares[1] / freedom[1], squares[2] / freedom[2]]
    assert min(ms[0], ms[1]) > ms[2], "the case should have both effects"
    variance = ms[0] + ms[1] - ms[2]
    degrees = variance**2 / sum(m**2 / f for m, f in zip(ms, freedom, strict=True))
    se = np.sqrt(variance / (p * s))
    t = scipy_stats.t(degrees)
    assert found.mean == pytest.approx(y.mean())
    assert found.degrees == pytest.approx(degrees)
    assert found.high - found.mean == pytest.approx(t.ppf(0.975) * se)
    assert found.p == pytest.approx(2 * t.sf(abs(y.mean()) / se))


def test_limits_hold_the_truth() -> None:
    """With seeds that differ by two points and with seeds that do not: 95 %, up to simulation error."""
    rng = np.random.default_rng(0)
    for spread in (0.0, 0.02):
        held = narrow = 0
        for _ in range(400):
            base = rng.random((200, 1))
            gain = 0.05 + rng.normal(0, 0.05, (200, 1)) + rng.normal(0, spread, (1, 3))
            before, after = rng.random((200, 3)) < base, rng.random((200, 3)) < 0.9 * base + gain
            found = crossed_difference(after.astype(float) - before)
            assert found is not None
            # 0.9 * base + gain leaves [0, 1] too seldom to matter here.
            held += found.low <= 0 <= found.high
            narrow += found.problems_high - found.problems_low < found.high - found.low + 1e-9
        assert 0.92 <= held / 400 <= 1
        assert narrow == 400


@given(st.integers(2, 30), st.integers(2, 4), st.integers(0, 1000))
def test_swapping_the_arms_mirrors_the_interval(problems: int, seeds: int, seed: int) -> None:
    d = np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], (problems, seeds))
    one, two = crossed_difference(d), crossed_difference(-d)
    assert one is not None
    assert two is not None
    assert (one.mean, one.low, one.high) == pytest.approx((-two.mean, -two.high, -two.low))
    assert -1 <= one.low <= one.mean <= one.high <= 1
    # Equal runs do not prove equality.
    same = crossed_difference(np.zeros((problems, seeds)))
    assert same is not None
    assert same.low < 0 < same.high


def test_all_three_verdicts() -> None:
    assert verdict_of(0.05, 0.02, 0.08, 0.01, 0.02) == "helps"
    assert verdict_of(0.05, 0.001, 0.1, 0.2, 0.02) == "undecided"
    assert verdict_of(0.0, -0.01, 0.015, 1.0, 0.02) == "does not help"
    assert verdict_of(-0.05, -0.08, -0.02, 0.01, 0.02) == "does not help"
    assert verdict_of(0.0, -0.05, 0.05, 1.0, 0.02) == "undecided"


@pytest.mark.parametrize(("better", "verdict"), [(True, "helps"), (False, "does not help")])
def test_a_study_from_stores(tmp_path: Path, better: bool, verdict: str) -> None:
    """Two arms, three seeds, 300 problems; where budgets change nothing the report says so."""
    rng = np.random.default_rng(7)
    arms = {arm: [f"{arm}_seed{seed}" for seed in range(3)] for arm in ("plain", "budgets")}
    rights: dict[str, np.ndarray] = {}
    for arm, stages in arms.items():
        for name in stages:
            rights[name] = np.zeros((300, 2), dtype=bool)
            problems: dict[str, Made] = {}
            for i in range(300):
                # Problems are alike in all models but for one in fifty answers.
                easy = (i % 10 < 5) != (rng.random() < 0.02)
                cut = (i % 10 < 2 or (better and arm == "budgets" and i % 10 < 4)) != (rng.random() < 0.02)
                rights[name][i] = cut, easy
                right: list[Budget] = ([4, 16, "50%"] if cut else []) + (["max"] if easy else [])
                problems[f"p{i}"] = Made(20, right)
            write_stage(tmp_path, name, MadeStage(problems, {"w": {"p0": True}}), BUDGETS)
    measured = [Measured(name, Path("nowhere"), None) for stages in arms.values() for name in stages]
    numbers = write_report(arms, measured, tmp_path, 0.02)
    (comparison,) = numbers["comparisons"]
    rows = {row["budget"]: row for row in comparison["rows"]}
    assert list(rows) == [0, 4, 16, "max", "half-cut"]
    for budget, column in ((4, 0), ("max", 1), ("half-cut", 0)):
        by_seed = [
            rights[b][:, column].mean() - rights[a][:, column].mean()
            for a, b in zip(arms["plain"], arms["budgets"], strict=True)
        ]
        assert rows[budget]["by_seed"] == pytest.approx(by_seed)
        assert rows[budget]["mean"] == pytest.approx(np.mean(by_seed))
    assert rows[4]["verdict"] == rows["half-cut"]["verdict"] == comparison["area"]["verdict"] == verdict
    assert rows["max"]["verdict"] != "helps"
    # The area on a log scale with 0 one doubling below 4: trapezoids over 0, 4, 16 at places 1, 2, 4.
    areas = [
        (1 / 3) * (0.5 * 0 + 0.5 * rights[name][:, 0].mean()) + (2 / 3) * rights[name][:, 0].mean()
        for name in rights
    ]
    assert comparison["area"]["mean"] == pytest.approx(np.mean(areas[3:]) - np.mean(areas[:3]))
    text = (tmp_path / "study.md").read_text()
    assert f"Budgets against plain: {verdict} over the token budgets together" in text
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
