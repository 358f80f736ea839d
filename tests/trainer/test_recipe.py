"""Recipes: mistakes are named with what would be right, and every value can be overridden."""

import re
from pathlib import Path
from typing import Any

import pytest

from trainer.cli import main
from trainer.recipe import Recipe, load_recipe
from trainer.recipe.load import find_recipe, shipped_names
from trainer.sources import open_sources

RECIPE = """
seed = 3
[model]
path = "Qwen/Qwen3-0.6B"

[[stages]]
kind = "cold_start"
tokens = 1000
batch_tokens = 100
optimizer = { adamw_lr = 1e-5 }
data = [{ kind = "jsonl", path = "a.jsonl" }, { kind = "thinkmath" }]

[[stages]]
kind = "reasoning_rl"
steps = 5
prompts_per_step = 4
group_size = 4
optimizer = { adamw_lr = 1e-6 }
rollouts = { max_tokens = 100 }

[[stages]]
kind = "general_rl"
name = "budgets"
start = "cold_start"
steps = 5
prompts_per_step = 4
group_size = 4
optimizer = { adamw_lr = 1e-6 }
rollouts = { max_tokens = 100 }
rewards = [{ name = "correctness" }, { name = "length", weight = 0.5 }]

[ablation]
budgets = [8, 16]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE, encoding="utf-8")
    return file


def value(recipe: Recipe, key: str) -> Any:
    found: Any = recipe
    for part in key.split("."):
        found = found[int(part)] if part.isdecimal() else getattr(found, part)
    return found


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("seed=7", "seed", 7),
        ("model.path=runs/a/checkpoint", "model.path", Path("runs/a/checkpoint")),
        ('model.path="runs/a b"', "model.path", Path("runs/a b")),
        ("stages.reasoning_rl.objective.clip_high=0.28", "stages.1.objective.clip_high", 0.28),
        ("stages.1.objective.kl.coefficient=0.001", "stages.1.objective.kl.coefficient", 0.001),
        ("stages.budgets.rewards.length.from_step=3", "stages.2.rewards.1.from_step", 3),
        ("stages.budgets.rewards.1.weight=2", "stages.2.rewards.1.weight", 2.0),
        ('stages.budgets.rewards.2={name="format"}', "stages.2.rewards.2.name", "format"),
        ("stages.budgets.budget={mode='uniform',low=8,high=64}", "stages.2.budget.high", 64),
        ("stages.cold_start.data.0.path=/data/b.jsonl", "stages.0.data.0.path", Path("/data/b.jsonl")),
        ("stages.cold_start.data.thinkmath.levels={1=0.5,2=0.5}", "stages.0.data.1.levels", {1: 0.5, 2: 0.5}),
        ("stages.cold_start.data.thinkmath.levels.3=1", "stages.0.data.1.levels", {3: 1.0}),
        ("ablation.budgets.1=32", "ablation.budgets", [8, 32]),
        ("logging.trackers=['trackio']", "logging.trackers", ["trackio"]),
        ("model.lora={rank=8,alpha=16}", "model.lora.rank", 8),
        ("stages.general_rl.steps=7", "stages.2.steps", 7),
    ],
)
def test_every_value_can_be_overridden(path: Path, override: str, key: str, expected: object) -> None:
    assert value(load_recipe(path, [override]), key) == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.cold_start.tokens=0", "stages.cold_start.tokens: 0 is wrong; it must be greater than 0"),
        (
            "stages.cold_start.token=5",
            "stages.cold_start.token: there is no such member; did you mean 'tokens'? the members are batch_",
        ),
        (
            "stages.budgets.objective.kl.estimator=k4",
            "stages.budgets.objective.kl.estimator: 'k4' is wrong; it must be 'k1', 'k2' or 'k3'",
        ),
        (
            "stages.budgets.rollouts.temperature=2.5",
            "stages.budgets.rollouts.temperature: 2.5 is wrong; it must be less than or equal to 2",
        ),
        ("stages.budgets.objective.kl.coef=1", "did you mean 'coefficient'?"),
        ("seed=one", "seed: 'one' is wrong; it must be a valid integer"),
        ("optimiser.lr=1", "optimiser: there is no such member; the members are ablation, "),
        ("stages.budgets.budget.mode=uniform", "stages.budgets.budget: low 0 and high 0 must hold"),
        ("stages.cold_start.epochs=2", "stages.cold_start: give either tokens or epochs"),
        ("stages.cold_start.data.0.path=", "'' is not a TOML value"),
        ("stages.polish.tokens=5", "none is named 'polish'; there are cold_start, reasoning_rl, budgets"),
        ("stages.budgets.data.0.limit=5", "stages.budgets.data: {'0': {'limit': 5}} is wrong; it must be a"),
        ("stages.budgets.rewards.5.weight=1", "none is named '5'"),
        ("stages.budgets.rewards.2.weight=1", "stages.budgets.rewards.2 is not there yet; give it whole"),
        ("seed.value=1", "seed is 3, which has no members"),
        ("seed", "expected key=value"),
        ("model.lora={rank=8}", "model.lora.alpha: is missing; give float"),
        (
            "stages.budgets.kind=polish",
            "stages.budgets.kind: 'polish' is no kind of stage; give one of average, cold_",
        ),
        ("stages.budgets.name=cold_start", "stages.name: ['cold_start'] more than once"),
        ("stages.budgets.name=Budgets", "stages.Budgets.name: 'Budgets' is wrong; String should match"),
        (
            "stages.budgets.start=warm",
            "stages.budgets.start: 'warm' is neither an earlier stage nor",
        ),
        ("stages.budgets.start=budgets", "stages.budgets.start: 'budgets' is the stage itself"),
        ("stages.cold_start.start=budgets", "stages.cold_start.start: 'budgets' comes after the stage"),
        ("model={path='a/b',lora={rank=1,alpha=1},thinking={opened='x'}}", "did you mean 'open'?"),
        ("ablation.stages=['warm']", "ablation.stages: ['warm'] are no stages"),
    ],
)
def test_mistakes_name_the_member_its_value_and_what_is_right(
    path: Path, override: str, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load_recipe(path, [override])


def test_muon_is_refused_with_adapters(path: Path) -> None:
    with pytest.raises(ValueError, match=r"stages\.cold_start\.optimizer\.muon_lr: 0\.1 is wrong"):
        load_recipe(path, ["model.lora={rank=1,alpha=1}", "stages.cold_start.optimizer.muon_lr=0.1"])


def test_all_mistakes_are_told_at_once(path: Path) -> None:
    with pytest.raises(ValueError, match=r"stages\.cold_start\.tokens: .*; stages\.budgets\.steps: "):
        load_recipe(path, ["stages.cold_start.tokens=-1", "stages.budgets.steps=-1"])


def test_missing_members_are_named(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text("[model]\npath = 'a'\n[[stages]]\nsteps = 5\n", encoding="utf-8")
    with pytest.raises(ValueError, match="kind: is missing; give one of average, cold_start, distill"):
        load_recipe(file)
    file.write_text("[model]\npath = 'a'\n[[stages]]\nkind = 'cold_start'\ntokens = 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"cold_start\.optimizer: is missing; give a table with adamw_lr"):
        load_recipe(file)
    file.write_text("seed = 1\n[model\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is not TOML"):
        load_recipe(file)


def test_stages_begin_where_they_say(path: Path) -> None:
    recipe = load_recipe(path)
    assert [recipe.start_of(stage) for stage in recipe.stages] == [None, "cold_start", "cold_start"]
    begun = recipe.begun_with("runs/x/checkpoint", ["budgets"])
    assert [begun.start_of(stage) for stage in begun.stages] == [None, "cold_start", "runs/x/checkpoint"]
    with pytest.raises(ValueError, match=r"--only: \['polish'\] are no stages; the stages are \['cold"):
        recipe.begun_with(None, ["polish"])


def test_stages_draw_different_problems_unless_they_are_given_one_seed(path: Path) -> None:
    def first_problems(*changes: str) -> list[str]:
        recipe = load_recipe(path, ['stages.cold_start.data=[{kind="thinkmath"}]', *changes])
        streams = [open_sources(stage.data, recipe.seed_of(stage)) for stage in recipe.stages]
        return ["; ".join(stream.at(index).problem.problem for index in range(3)) for stream in streams]

    assert len(set(first_problems())) == 3
    assert first_problems() == first_problems()
    assert not set(first_problems()) & set(first_problems("seed=4"))
    equal = ["stages.reasoning_rl.seed=9", "stages.budgets.seed=9"]
    _, one, other = first_problems(*equal)
    assert one == other
    recipe = load_recipe(path, equal)
    assert [recipe.seed_of(stage) for stage in recipe.stages[1:]] == [9, 9]


def test_command_line_reports_errors_without_a_traceback(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(path), "--set", "threads=0"]) == 2
    assert "threads: 0 is wrong; it must be greater than 0" in capsys.readouterr().err
    assert main(["run", str(path.with_name("none.toml"))]) == 2
    assert "cannot be read (No such file or directory); give a TOML file" in capsys.readouterr().err


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_recipe_is_found_by_name_and_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(__file__).parents[2] / "trainer" / "recipes" / f"{name}.toml"
    monkeypatch.chdir("/")
    for given in (name, f"{name}.toml", f"trainer/recipes/{name}.toml"):
        assert find_recipe(Path(given)) == file
    recipe = load_recipe(Path(name))
    assert recipe == load_recipe(file)
    assert "thinkdial-default" not in recipe.model_dump_json()


def test_a_file_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny").write_text("", encoding="utf-8")
    assert find_recipe(Path("tiny")) == Path("tiny")
    for absent in ("absent", "../recipes/tiny", "/tiny.toml"):
        assert find_recipe(Path(absent)) == Path(absent)
    with pytest.raises(ValueError, match=r"'absent' cannot be read .* or one of budget_study, "):
        load_recipe(Path("absent"))
