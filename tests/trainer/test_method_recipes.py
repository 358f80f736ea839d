"""Recipes of published methods: the dry run passes them; R1's SFT trains another model than it samples."""

import json
from pathlib import Path

import pytest
from micro_models import SHAPE

from serve import DEFAULT_MODEL
from serve.formats import load_format
from trainer.checkpoints import load_tokenizer, new_checkpoint
from trainer.cli import main
from trainer.context import StageContext
from trainer.recipe import load_recipe
from trainer.recipe.stages import Fusion
from trainer.rewards import build_rewards
from trainer.sft.stage import own_thinking
from trainer.sources import open_sources

METHODS = Path(__file__).parents[2] / "trainer" / "recipes" / "methods"
HERE = str(DEFAULT_MODEL)
"""Stands for the checkpoints of earlier runs that recipes begin with."""
BEGIN = {
    "kimi": [f"model.path={HERE}"],
    "ppo": [f"model.path={HERE}"],
    "long2short": [
        f"model.path={HERE}",
        f'stages.merged.checkpoints=["{HERE}", "short"]',
        *(f"stages.{arm}.start={HERE}" for arm in ("shortest", "dpo", "rl")),
    ],
    "r1-zero": [f"model.path={HERE}"],
    "r1": [f"model.path={HERE}", f"stages.sft.start={HERE}"],
    "r1-distill": [f"model.tokenizer={HERE}", f"stages.distill.teacher={HERE}"],
}


@pytest.mark.parametrize("name", BEGIN)
def test_the_dry_run_passes(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", str(METHODS / f"{name}.toml"), "--dry-run", "--out", str(tmp_path / "run")]
    for change in BEGIN[name]:
        command += ["--set", change]
    status = main(command)
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert not (tmp_path / "run").exists()


def test_kimi_s_length_reward_comes_late_and_stays() -> None:
    (stage,) = load_recipe(METHODS / "kimi.toml", [f"model.path={HERE}"]).stages
    rewards = build_rewards(stage.rewards)  # type: ignore[union-attr]
    assert [rewards.weights(step)["length"] for step in (0, 11, 12, 24)] == [0.0, 0.0, 0.2, 0.2]


FUSION = f"""
threads = 1
[model]
path = "START"
[[stages]]
kind = "fusion"
tokens = 300
batch_tokens = 300
optimizer = {{ adamw_lr = 1e-3 }}
data = [{{ kind = "thinkmath", levels = {{ 1 = 1 }} }}]
[stages.rejection]
sampled_from = "{HERE}"
problems = 4
samples = 1
rollouts = {{ backend = "transformers", max_tokens = 96, answer_tokens = 20 }}
"""


def fusion(folder: Path, start: Path, *changes: str) -> tuple[StageContext, Fusion]:
    file = folder / "recipe.toml"
    file.write_text(FUSION.replace("START", str(start)), "utf-8")
    recipe = load_recipe(file, changes)
    (stage,) = recipe.stages
    assert isinstance(stage, Fusion)
    return StageContext(recipe, stage, 0, start, folder / "run", folder / "run" / "fusion"), stage


def test_thinking_may_be_sampled_from_another_checkpoint(tmp_path: Path) -> None:
    """The stage begins with random weights, which are never right."""
    new_checkpoint(SHAPE, 0, tmp_path / "random", taken_from=DEFAULT_MODEL)
    context, stage = fusion(tmp_path, tmp_path / "random")
    assert stage.rejection is not None
    form = load_format(load_tokenizer(context.start), context.start)
    kept = own_thinking(context, stage.rejection, form, open_sources(stage.data, 0))
    assert kept.size
    assert kept.at(0).thinking

    other = tmp_path / "other"
    new_checkpoint(SHAPE, 0, other, taken_from=DEFAULT_MODEL)
    tokenizer = load_tokenizer(other)
    tokenizer.add_tokens(["<|other|>"])
    tokenizer.save_pretrained(other)
    (tmp_path / "again").mkdir()
    context, stage = fusion(tmp_path / "again", other)
    assert stage.rejection is not None
    with pytest.raises(ValueError, match=r"stages\.fusion\.rejection\.sampled_from: .* tokenizer is not"):
        own_thinking(context, stage.rejection, form, open_sources(stage.data, 0))


def test_what_is_sampled_from_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"rejection\.sampled_from: 'fusion' is the stage itself"):
        fusion(tmp_path, DEFAULT_MODEL, "stages.fusion.rejection.sampled_from=fusion")
    absent = json.dumps(str(tmp_path / "none"))
    command = ["run", str(tmp_path / "recipe.toml"), "--dry-run", "--out", str(tmp_path / "run")]
    assert main([*command, "--set", f"stages.fusion.rejection.sampled_from={absent}"]) == 2
    assert "stages.fusion.rejection.sampled_from: there is no folder" in capsys.readouterr().out
