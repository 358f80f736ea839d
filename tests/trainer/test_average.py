"""Averages of checkpoints: against averages by hand, loaded by transformers and vLLM; unlike ones refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from micro_models import SHAPE
from transformers import AutoModelForCausalLM

from trainer.average.weights import average_weights, check_alike
from trainer.checkpoints import load_tokenizer, new_checkpoint
from trainer.cli import main
from trainer.recipe import Recipe, load_recipe
from trainer.rollouts.engine import EngineBackend
from trainer.rollouts.types import RolloutRequest, Sampling
from trainer.run import RunError, run_recipe


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Checkpoints of one shape and one tokenizer, with weights of their own."""
    folder = tmp_path_factory.mktemp("three")
    new_checkpoint(SHAPE, 0, folder / "0")
    for seed in (1, 2):
        new_checkpoint(SHAPE, seed, folder / str(seed), taken_from=folder / "0")
    return [folder / str(seed) for seed in range(3)]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder, dtype="auto").state_dict())


def recipe_of(path: Path, start: Path, stage: str) -> Path:
    path.write_text(
        f'threads = 1\n[model]\npath = "{start}"\n[[stages]]\nkind = "average"\n{stage}\n', "utf-8"
    )
    return path


@pytest.mark.slow
def test_a_stage_leaves_the_weighted_average(three: list[Path], tmp_path: Path) -> None:
    places = json.dumps([str(folder) for folder in three])
    file = recipe_of(tmp_path / "r.toml", three[0], f"checkpoints = {places}\nweights = [1, 2, 5]")
    result = run_recipe(load_recipe(file), tmp_path / "run")
    assert result == tmp_path / "run" / "average" / "checkpoint"
    first, second, third = map(weights_of, three)
    made = weights_of(result)
    assert made.keys() == first.keys()
    for name, tensor in made.items():
        by_hand = (first[name] * 1 + second[name] * 2 + third[name] * 5) / 8
        torch.testing.assert_close(tensor, by_hand, atol=1e-7, rtol=1e-6)
        assert tensor.dtype == first[name].dtype
    assert load_tokenizer(result).get_vocab() == load_tokenizer(three[0]).get_vocab()
    assert (result / "thinking_format.json").exists() == (three[0] / "thinking_format.json").exists()
    engine = EngineBackend(result, kv_cache_gib=0.02, max_rows=1)
    try:
        (reply,) = engine.generate([RolloutRequest((5, 6, 7), 12, 0)], Sampling(temperature=1.0))
    finally:
        engine.close()
    model = AutoModelForCausalLM.from_pretrained(three[0])
    model.load_state_dict({name: (first[name] + 2 * second[name] + 5 * third[name]) / 8 for name in first})
    logits = model(torch.tensor([(5, 6, 7, *reply.token_ids)])).logits[0, 2:-1].log_softmax(-1)
    by_hand = logits[range(len(reply.token_ids)), list(reply.token_ids)]
    torch.testing.assert_close(torch.tensor(reply.logprobs), by_hand, atol=1e-4, rtol=1e-4)


def test_alike_ones_average_to_themselves(three: list[Path]) -> None:
    mean = average_weights([three[0]] * 3, [1.0] * 3)
    for name, tensor in weights_of(three[0]).items():
        assert torch.equal(mean[name], tensor)


def test_stages_are_averaged_in_the_run_they_are_of(three: list[Path], tmp_path: Path) -> None:
    short = 'kind = "cold_start"\ntokens = 600\nbatch_tokens = 300\noptimizer = { adamw_lr = 1e-2 }\n'
    file = tmp_path / "r.toml"
    file.write_text(
        f'threads = 1\n[model]\npath = "{three[0]}"\n[[stages]]\n{short}[[stages]]\nkind = "average"\n'
        f'checkpoints = ["cold_start", "{three[1]}"]\n',
        "utf-8",
    )
    run = tmp_path / "run"
    with pytest.raises(RunError, match=r"stages\.average\.start: stage 'cold_start' is not finished"):
        run_recipe(load_recipe(file), run, ["average"])
    shutil.rmtree(run)
    made = weights_of(run_recipe(load_recipe(file), run))
    written = Recipe.model_validate_json((run / "recipe.json").read_text("utf-8"))
    assert written.stages[1] == load_recipe(file).stages[1]
    trained, other = weights_of(run / "cold_start" / "checkpoint"), weights_of(three[1])
    for name, tensor in made.items():
        torch.testing.assert_close(tensor, (trained[name] + other[name]) / 2, atol=1e-7, rtol=1e-6)
        assert not torch.equal(trained[name], weights_of(three[0])[name]) or "norm" in name


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("rope_theta", "rope_parameters is .*'rope_theta': 500.0"),
        ("hidden_size", "hidden_size is 48 and that of .* 32; give checkpoints of one shape"),
    ],
)
def test_other_shapes_are_refused(three: list[Path], tmp_path: Path, member: str, message: str) -> None:
    value = {"rope_theta": 500.0, "hidden_size": 48}[member]
    new_checkpoint(SHAPE.model_copy(update={member: value}), 0, tmp_path / "other", taken_from=three[0])
    with pytest.raises(ValueError, match=message):
        check_alike([three[0], tmp_path / "other"], "checkpoints")


def test_another_tokenizer_is_refused_before_the_run(
    three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(three[1], tmp_path / "other")
    tokenizer = load_tokenizer(three[1])
    tokenizer.add_tokens(["<|other|>"])
    tokenizer.save_pretrained(tmp_path / "other")
    file = recipe_of(tmp_path / "r.toml", three[0], f'checkpoints = ["{three[0]}", "{tmp_path / "other"}"]')
    assert main(["run", str(file), "--dry-run", "--out", str(tmp_path / "run")]) == 2
    assert "its tokenizer is not that of" in capsys.readouterr().out
    good = f"stages.average.checkpoints={json.dumps([str(folder) for folder in three])}"
    assert main(["run", str(file), "--dry-run", "--out", str(tmp_path / "run"), "--set", good]) == 0


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ('checkpoints = ["HERE"]', "at least 2 items"),
        ('checkpoints = ["HERE", "HERE"]', "more than once; give each once, and weights"),
        ('checkpoints = ["HERE", "a/b"]\nweights = [1]', "there are 2 checkpoints; give one for each"),
        ('checkpoints = ["HERE", "a/b"]\nweights = [1, 0]', "give numbers above 0"),
        ('checkpoints = ["HERE", "warm"]', "checkpoints: 'warm' is neither an earlier stage nor a folder"),
        ('checkpoints = ["HERE", "average"]', "checkpoints: 'average' is the stage itself"),
        ('checkpoints = ["HERE", "a/b"]\noptimizer = { adamw_lr = 1 }', "optimizer: there is no such member"),
    ],
)
def test_wrong_averages_are_refused(three: list[Path], tmp_path: Path, stage: str, message: str) -> None:
    file = recipe_of(tmp_path / "r.toml", three[0], stage.replace("HERE", str(three[0])))
    with pytest.raises(ValueError, match=message):
        load_recipe(file)


def test_an_average_does_not_begin_elsewhere(three: list[Path], tmp_path: Path) -> None:
    good = f'checkpoints = ["{three[0]}", "{three[1]}"]'
    recipe = load_recipe(recipe_of(tmp_path / "r.toml", three[0], good))
    with pytest.raises(ValueError, match="--from: 'x' is wrong because stage 'average' averages"):
        recipe.begun_with("x")
