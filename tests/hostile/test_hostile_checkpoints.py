"""A checkpoint from anywhere is data: reading its weights, tokenizer and configuration runs nothing of it."""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from vllm.model_executor.model_loader.weight_utils import pt_weights_iterator

from serve import DEFAULT_MODEL
from serve.updates import WeightUpdate, checkpoint_in
from trainer.checkpoints import load_model, load_tokenizer
from trainer.recipe.model import Model
from trainer.rl.state import load_state, save_state

MODULE = """
from pathlib import Path
Path({sentinel!r}).touch()
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
class Evil(PretrainedConfig):
    model_type = "evil"
class EvilModel(PreTrainedModel):
    config_class = Evil
class EvilTokenizer(PreTrainedTokenizerFast):
    pass
"""


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.sentinel,)


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def pickled(tmp_path: Path, sentinel: Path) -> Path:
    """The shipped model with a pickle for weights."""
    folder = tmp_path / "pickled"
    shutil.copytree(DEFAULT_MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save({"model.norm.weight": Payload(sentinel)}, folder / "pytorch_model.bin")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(folder / "pytorch_model.bin")
    return folder


@pytest.fixture
def coded(tmp_path: Path, sentinel: Path) -> Path:
    """The shipped model with code of its own for everything that can have some."""
    folder = tmp_path / "coded"
    shutil.copytree(DEFAULT_MODEL, folder)
    (folder / "evil.py").write_text(MODULE.format(sentinel=str(sentinel)))
    for name, classes in (
        ("config.json", {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.EvilModel"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizer"]}),
    ):
        members = json.loads((folder / name).read_text())
        members["auto_map"] = classes
        if name == "config.json":
            members |= {"model_type": "evil", "architectures": ["EvilModel"]}
        (folder / name).write_text(json.dumps(members))
    return folder


def test_the_state_of_a_run_is_not_run(tmp_path: Path, sentinel: Path) -> None:
    """A run that is gone on with: its weights, optimizer and random states are pickles, read as data only."""
    accelerator = Accelerator(cpu=True)
    network = torch.nn.Linear(2, 2)
    accelerator.prepare(network, torch.optim.AdamW(network.parameters()))
    accelerator.register_for_checkpointing(torch.nn.Linear(2, 2))
    save_state(accelerator, tmp_path / "states", 1, {"step": 1})
    assert load_state(accelerator, tmp_path / "states") == {"step": 1}
    found = [path for path in (tmp_path / "states").rglob("*") if path.suffix in (".bin", ".pkl")]
    assert any(path.name.startswith("custom_checkpoint") for path in found)
    for path in found:
        whole = path.read_bytes()
        torch.save({"x": Payload(sentinel)}, path)
        # What it does without random states is accelerate's: it goes on.
        with suppress(Exception):
            load_state(accelerator, tmp_path / "states")
        path.write_bytes(whole)
        assert not sentinel.exists(), path.name


def test_a_pickle_of_weights_is_not_run(pickled: Path, sentinel: Path) -> None:
    with pytest.raises(Exception, match=r"(?i)weights.only|unpickl|unsupported|disallowed"):
        load_model(pickled, Model(path=pickled))
    with pytest.raises(Exception, match=r"(?i)weights.only|unpickl|unsupported|disallowed"):
        list(pt_weights_iterator([str(pickled / "pytorch_model.bin")], use_tqdm_on_load=False))
    assert not sentinel.exists()


def test_code_beside_the_weights_is_not_run(coded: Path, sentinel: Path) -> None:
    """Some readers refuse such a folder, some take what is no code; none runs it."""
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_model(coded, Model(path=coded))
    with suppress(Exception):
        load_tokenizer(coded)
    describe = [sys.executable, "-m", "serve.cli", str(coded), "--describe"]
    subprocess.run(describe, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "path", ["..", "../other", "/etc", "a/../../other", "link", "", ".", "step-1\0", "x" * 5000]
)
def test_weights_come_from_one_folder(tmp_path: Path, path: str) -> None:
    folder, other = tmp_path / "updates", tmp_path / "other"
    for made in (folder / "step-1", other):
        made.mkdir(parents=True)
        (made / "model.safetensors").touch()
    (folder / "link").symlink_to(other)
    assert checkpoint_in(folder, "step-1") == folder / "step-1"
    assert checkpoint_in(folder, WeightUpdate(path=path, version=1).path) is None
