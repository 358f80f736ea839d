"""The commands and examples in the READMEs run, on small numbers and against the session's server."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from serve.cli import parse
from serve.launch import RunningServer

ROOT = Path(__file__).parents[2]
READMES = [
    ROOT / "README.md",
    *(ROOT / room / "README.md" for room in ("clients", "serve", "evals", "trainer")),
]

DOCS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]


def small_training(recipe: str) -> str:
    """Options that bring all stages of a recipe to a minute together.

    They begin with the shipped model, as rejection sampling needs right replies."""
    stages = tomllib.loads((ROOT / "trainer" / "recipes" / recipe).read_text("utf-8"))["stages"]
    options = [f"--from {ROOT / 'serve' / 'default_model'}"]
    for stage in stages:
        name = stage.get("name", stage["kind"])
        small: dict[str, object] = {}
        if "tokens" in stage:
            small |= {"tokens": 4096}
        if "rejection" in stage:
            small |= {"rejection.problems": 4, "rejection.rollouts.backend": "transformers"}
        if "steps" in stage:
            small |= {"steps": 1, "prompts_per_step": 2, "group_size": 2, "held_out_problems": 5}
            small |= {"rollouts.backend": "transformers"}
        options += [f"--set stages.{name}.{field}={value}" for field, value in small.items()]
    if recipe == "tiny.toml":
        options.append(
            "--set ablation.limit=5 --set ablation.mode_problems=2 --set ablation.stages='[\"general_rl\"]'"
        )
    return " ".join(options)


def fences(language: str) -> list[tuple[str, str]]:
    """(README, content) of every fenced block of a language, "" for plain ones."""
    found = []
    for readme in READMES:
        opened: str | None = None
        block: list[str] = []
        for line in readme.read_text("utf-8").splitlines():
            if not line.startswith("```"):
                block.append(line)
            elif opened is None:
                opened, block = line.removeprefix("```"), []
            else:
                if opened == language:
                    found.append((str(readme.relative_to(ROOT)), "\n".join(block)))
                opened = None
    return found


def commands() -> list[str]:
    """Every command line of the plain blocks, in order, continuation lines joined and comments dropped."""
    joined = [block.replace("\\\n", " ") for _, block in fences("")]
    lines = [line.split("  #")[0].strip() for block in joined for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line and not line.startswith("make ")))


def test_the_rooms_and_their_commands_are_found() -> None:
    text = "\n".join(commands())
    for start in (
        "thinkdial serve",
        "thinkdial eval sweep",
        "thinkdial eval report",
        "thinkdial train run",
        "curl",
    ):
        assert start in text


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("thinkdial serve")])
def test_serve_commands_name_their_model_and_leave_the_rest_to_vllm(command: str) -> None:
    words = shlex.split(command)[2:]
    model = words[0] if words and not words[0].startswith("-") else None
    assert parse(words)[0].model == model


@pytest.mark.slow
def test_all_other_commands_run(server: RunningServer, tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    (tmp_path / "trainer").symlink_to(ROOT / "trainer")
    ran = 0
    for line in commands():
        if line.startswith("thinkdial serve"):
            continue
        command = line.replace("curl localhost:8000", "curl --fail localhost:8000")
        command = command.replace("localhost:8000", server.base_url.removeprefix("http://"))
        command = (
            command.replace("--limit 400", "--limit 5")
            .replace("--limit 500", "--limit 5")
            .replace("runs/", f"{tmp_path}/runs/")
        )
        if command.startswith("thinkdial eval sweep") or "thinkdial chat" in command:
            command += f" --base-url {server.base_url}"
        if training := re.match(r"thinkdial train run trainer/recipes/(\S+)", command):
            command += f" {small_training(training[1])}"
        result = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            input="Modulo 10, compute 3+4.",
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{line}\n{result.stderr[-2000:]}"
        ran += 1
    assert ran >= 6


@pytest.mark.parametrize("page", [*READMES, *DOCS], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    text = page.read_text("utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    local = [inline or named for inline, named in targets if "://" not in (inline or named)]
    missing = [link for link in local if not (page.parent / link.partition("#")[0]).exists()]
    assert not missing


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_named_links_are_defined_and_used(page: Path) -> None:
    text = page.read_text("utf-8")
    named = set(re.findall(r"\]\[([\w-]+)\]", text))
    assert named == set(re.findall(r"^\[([\w-]+)\]: ", text, re.MULTILINE))


@pytest.mark.parametrize(("readme", "code"), fences("python"))
def test_python_examples_run(server: RunningServer, readme: str, code: str) -> None:
    code = code.replace("http://127.0.0.1:8000", server.base_url)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{readme}\n{result.stderr}"
    assert result.stdout
