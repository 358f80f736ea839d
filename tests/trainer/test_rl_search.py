"""The search of learning rate and group size runs its grid and prints what each did."""

from pathlib import Path

import pytest
import rl_runs

from trainer.bench.rl_search import ReasoningRL, main, variant

RECIPE = f"""
threads = 1
[model]
path = "{rl_runs.DEFAULT_MODEL}"
[[stages]]
kind = "reasoning_rl"
steps = 50
prompts_per_step = 4
group_size = 4
optimizer = {{ adamw_lr = 1e-3, muon_lr = 1e-2 }}
modes = {{ no_think = 1.0 }}
rollouts = {{ backend = "transformers", max_tokens = 64, answer_tokens = 12 }}
"""


@pytest.mark.slow
def test_the_grid_is_run_once_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    arguments = [str(recipe), "--stage", "reasoning_rl", "--from", str(rl_runs.DEFAULT_MODEL)]
    arguments += ["--learning-rates", "1e-4", "--group-sizes", "2", "--steps", "1", "--problems", "6"]
    arguments += ["--out", str(tmp_path / "search")]
    assert main(arguments) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in table] == ["run", "---", "start", "lr 0.0001, groups of 2"]
    assert all(line.count("|") == 6 for line in table)
    checkpoint = tmp_path / "search" / "lr_0.0001_group_2" / "checkpoint"
    written = checkpoint.stat().st_mtime_ns
    assert main(arguments) == 0
    assert checkpoint.stat().st_mtime_ns == written
    assert capsys.readouterr().out.splitlines() == table
    with pytest.raises(ValueError, match=r"--out: .* holds a trial of other settings"):
        main([*arguments, "--steps", "2"])


def test_variants_cost_the_same() -> None:
    stage = ReasoningRL.model_validate(
        rl_runs.STAGE | {"kind": "reasoning_rl", "optimizer": {"adamw_lr": 1e-3, "muon_lr": 1e-2}}
    )
    other = variant(stage, 2e-3, 8, 9)
    assert (other.prompts_per_step, other.group_size, other.steps) == (2, 8, 9)
    assert other.optimizer.muon_lr == pytest.approx(2e-2)
    with pytest.raises(ValueError, match="--group-sizes: 5 does not divide the 16"):
        variant(stage, 1e-3, 5, 9)
