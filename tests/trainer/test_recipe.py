"""Recipes: bad values are named, overrides reach their stage."""

import re
from pathlib import Path

import pytest

from trainer.cli import main
from trainer.recipe import load_recipe

TINY = Path(__file__).parents[2] / "trainer" / "recipes" / "tiny.toml"


def test_overrides_address_stages_by_name() -> None:
    recipe = load_recipe(TINY, ["seed=7", "stages.fusion.tokens=1000", "stages.fusion.mix.cuts=1"])
    stage = {stage.name: stage for stage in recipe.stages}["fusion"]
    assert (recipe.seed, stage.tokens, stage.mix.cuts) == (7, 1000, 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.fusion.tokens=0", "stages.1.tokens: Input should be greater than 0 (got 0)"),
        ("stages.fusion.token=5", "stages.1.token: Extra inputs are not permitted (got 5)"),
        ('model.hidden_size="big"', "model.hidden_size"),
        ("stages.polish.tokens=5", "no stage 'polish'"),
        ("optimiser.lr=1", "'optimiser' is not a section"),
        ("seed", "expected key=value"),
        ("seed=one", "'one' is not a TOML value"),
    ],
)
def test_bad_values_are_named(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load_recipe(TINY, [override])


def test_command_line_reports_errors_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(TINY), "--set", "threads=0"])
    assert stopped.value.code == 2
    assert "threads: Input should be greater than 0 (got 0)" in capsys.readouterr().err
