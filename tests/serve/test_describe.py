"""`thinkdial serve --describe` tells how a model thinks without loading it."""

import re
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from serve import DEFAULT_MODEL
from serve.describe import describe
from serve.formats import load_format
from tests.serve.test_formats import real_template

OURS = Namespace(thinking_open=None, thinking_close=None, thinking_stop_text=None)


@pytest.fixture
def weightless(tmp_path: Path) -> Path:
    """The shipped model without its weights."""
    folder = tmp_path / "model"
    shutil.copytree(DEFAULT_MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def lines(text: str) -> dict[str, str]:
    """The lines by what they tell."""
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in text.splitlines())


def test_shipped_model(weightless: Path) -> None:
    from transformers import AutoTokenizer

    form = load_format(AutoTokenizer.from_pretrained(weightless), weightless)
    said = lines(describe(str(weightless), OURS, []))
    assert said["open tag"] == f"'<think>' (id {form.open_id})"
    assert said["close tag"] == f"'</think>' (id {form.close_id})"
    assert said["opened by"] == "the model"
    assert said["switched off by"].startswith("enable_thinking=False in chat_template_kwargs")
    assert said["early-stop text"] == repr(form.stop_text)
    assert said["early-stop ids"] == f"{len(form.stop_ids)}: {list(form.stop_ids)}"
    assert said["context length"] == "2048"
    assert said["earlier thinking"] == "taken out of the prompt"
    assert said["… of tool calls"] == "kept in the prompt"
    assert said["reasoning parser"] == "thinkdial"


def test_flags_count(weightless: Path, tmp_path: Path) -> None:
    template = tmp_path / "r1.jinja"
    template.write_text(real_template("deepseek_r1_distill"))
    ours = Namespace(thinking_open=None, thinking_close=None, thinking_stop_text="Stop.</think>")
    rest = ["--max-model-len", "512", "--chat-template", str(template), "--reasoning-parser", "deepseek_r1"]
    said = lines(describe(str(weightless), ours, [*rest, "--tensor-parallel-size", "2"]))
    assert said["opened by"] == r"the template, by '<think>\n'"
    assert said["switched off by"] == r"'\n</think>\n\n' after the prompt; the template has no switch"
    assert said["early-stop text"] == "'Stop.</think>'"
    assert said["context length"] == "512"
    assert said["reasoning parser"] == "deepseek_r1"


def test_model_without_thinking(weightless: Path) -> None:
    (weightless / "chat_template.jinja").write_text(real_template("qwen3_instruct_2507"))
    (weightless / "thinking_format.json").unlink()
    said = lines(describe(str(weightless), OURS, []))
    assert said["thinking"] == "none; a request with a budget is refused"


def test_what_is_wrong_is_said(weightless: Path) -> None:
    ours = Namespace(thinking_open="<reason>", thinking_close="</reason>", thinking_stop_text=None)
    with pytest.raises(ValueError, match="must be one"):
        describe(str(weightless), ours, [])


def test_the_command(weightless: Path) -> None:
    def command(*args: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "serve.cli", str(weightless), "--describe", *args]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    said = command("--max-model-len", "512")
    assert said.returncode == 0, said.stderr
    assert lines(said.stdout)["context length"] == "512"
    refused = command("--thinking-open", "<reason>", "--thinking-close", "</reason>")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "'<reason>'" in refused.stderr
    assert "Traceback" not in refused.stderr
