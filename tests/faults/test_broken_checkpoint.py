"""Checkpoints that are not whole: commands say in a line which file is wrong and why, and end with 2."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from serve import DEFAULT_MODEL
from serve.checkpoint import check_checkpoint

WEIGHTS = "model.safetensors"


def cut_weights(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])


def cut_header(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:5])


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def no_shard(folder: Path) -> None:
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))


def cut_tokenizer(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text("utf-8")
    (folder / "tokenizer.json").write_text(text[: len(text) // 2], "utf-8")


def broken_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text("{% if %}" + path.read_text("utf-8"), "utf-8")


def no_tags(folder: Path) -> None:
    """As if the tags had never been tokens: the tokenizer spells them."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    for token in tokenizer["added_tokens"]:
        token["content"] = token["content"].replace("think>", "muse>")
    vocabulary = tokenizer["model"]["vocab"]
    for name in [name for name in vocabulary if name in ("<think>", "</think>")]:
        vocabulary[name.replace("think>", "muse>")] = vocabulary.pop(name)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    (folder / "thinking_format.json").unlink()


WRONG: dict[Callable[[Path], None], str] = {
    cut_weights: f"{WEIGHTS}' has ",
    cut_header: f"{WEIGHTS}' is cut short within its header",
    no_config: "has no config.json",
    no_weights: "has no weights",
    no_shard: "model-00002-of-00002.safetensors' is missing, which model.safetensors.index.json names",
    cut_tokenizer: "tokenizer.json' is no JSON",
}
TEMPLATE = "the chat template cannot be rendered"


def broken(folder: Path, how: Callable[[Path], None]) -> Path:
    shutil.copytree(DEFAULT_MODEL, folder, ignore=shutil.ignore_patterns("thinking_profile.json"))
    how(folder)
    return folder


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "clients.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300)


def refused(done: subprocess.CompletedProcess[str], reason: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert reason in done.stderr.splitlines()[-1]


def test_a_whole_one_is_not_refused() -> None:
    check_checkpoint(DEFAULT_MODEL, weights=True)


@pytest.mark.parametrize("how", WRONG)
def test_files_that_are_not_whole(how: Callable[[Path], None], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give a checkpoint's folder") as raised:
        check_checkpoint(broken(tmp_path / "model", how), weights=True)
    assert WRONG[how] in str(raised.value)


def test_serve_and_eval_refuse_weights_that_are_cut_short(tmp_path: Path) -> None:
    model = broken(tmp_path / "model", cut_weights)
    refused(command("serve", model), WRONG[cut_weights])
    sweep = ["--problems", "thinkmath", "--limit", "1", "--budgets", "0", "--out", tmp_path / "run"]
    refused(command("eval", "sweep", "--model", model, *sweep), WRONG[cut_weights])
    assert not (tmp_path / "run").exists()


def test_describe_refuses_a_broken_template_and_a_cut_tokenizer(tmp_path: Path) -> None:
    refused(command("serve", broken(tmp_path / "first", broken_template), "--describe"), TEMPLATE)
    refused(command("serve", broken(tmp_path / "second", cut_tokenizer), "--describe"), WRONG[cut_tokenizer])


RECIPE = """
threads = 1
[model]
path = "{path}"
[[stages]]
kind = "reasoning_rl"
steps = 1
prompts_per_step = 1
group_size = 2
optimizer = {{ adamw_lr = 1e-3 }}
rollouts = {{ backend = "transformers", max_tokens = 64, answer_tokens = 12 }}
"""


@pytest.mark.parametrize(
    ("how", "field", "reason"),
    [
        *((how, "model.path", WRONG[how]) for how in (cut_weights, no_config, cut_tokenizer)),
        (no_weights, "stages.reasoning_rl", WRONG[no_weights]),
        (broken_template, "stages.reasoning_rl", TEMPLATE),
        (no_tags, "stages.reasoning_rl", "has no thinking"),
    ],
)
def test_train_refuses(
    how: Callable[[Path], None], field: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trainer.cli import main

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(path=broken(tmp_path / "model", how)), encoding="utf-8")
    assert main(["run", str(recipe), "--out", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(f"thinkdial train: {field}: ")
    assert reason in message


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_eval_says_why_its_server_does_not_start(tmp_path: Path) -> None:
    """The server itself finds it, once vLLM has read the tokenizer."""
    model = broken(tmp_path / "model", broken_template)
    sweep = ["--problems", "thinkmath", "--limit", "1", "--budgets", "0", "--out", tmp_path / "run"]
    refused(command("eval", "sweep", "--model", model, *sweep), TEMPLATE)
