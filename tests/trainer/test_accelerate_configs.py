"""accelerate takes each of the launch configurations as it stands."""

import os
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env

CONFIGS = Path(__file__).parents[2] / "trainer" / "configs"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fsdp", DistributedType.FSDP),
        ("deepspeed-zero2", DistributedType.DEEPSPEED),
    ],
)
def test_accelerate_reads_it(name: str, kind: DistributedType) -> None:
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert config.distributed_type == kind


def test_every_config_is_tested() -> None:
    assert {path.stem for path in CONFIGS.iterdir()} == {"fsdp", "deepspeed-zero2"}


@pytest.mark.slow
def test_fsdp_shards_by_layers_and_gives_whole_state_dicts(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--config_file", str(CONFIGS / "fsdp.yaml"), "script.py"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    for name, value in prepare_multi_gpu_env(arguments).items():
        if name not in os.environ:
            monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert plugin.auto_wrap_policy.__name__ == "transformer_auto_wrap_policy"
