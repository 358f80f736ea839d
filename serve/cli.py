"""Command line of `thinkdial serve`: our defaults for vLLM's flags, and the environment vLLM starts in.

Nothing of vLLM or torch is imported before the environment is set, so `--help` answers at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from serve import DEFAULT_MODEL, DEFAULT_MODEL_NAME
from serve.checkpoint import check_checkpoint
from serve.flags import build_parser

QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
LIMITS = {"VLLM_MAX_N_SEQUENCES": "1024"}
"""Choices of one request. vLLM's 16384 keep the event loop from everybody else for seconds."""
CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # Spinning OpenMP threads on a small busy machine are 10-50 times slower than sleeping ones.
    "OMP_WAIT_POLICY": "PASSIVE",
}
SMALL_MACHINE_CORES = 4
DRAIN_SECONDS = "25"
"""Kubernetes kills 30 seconds after its SIGTERM."""
WRONG_USAGE = 2
"""Exit code of a server that cannot start as it is asked to."""
ERROR = "thinkdial serve: error: "
"""What it says then begins with this, after all else."""


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our flags, and the rest for vLLM."""
    parser = build_parser()
    # Only a first argument can be the model: any later bare word may be the value of a flag of vLLM's.
    named = bool(argv) and not argv[0].startswith("-")
    ours, rest = parser.parse_known_args(argv[1:] if named else argv)
    ours.model = argv[0] if named else None
    if ours.default_thinking_budget is not None:
        ours.default_thinking = replace(ours.default_thinking, budget=ours.default_thinking_budget)
    if ours.help == "ours":
        parser.print_help()
        sys.exit(0)
    return ours, rest


def is_cpu_build() -> bool:
    """Whether the installed vLLM is its CPU build, told without importing it."""
    names = {
        dist.metadata["Name"]: dist.version for dist in metadata.distributions() if dist.metadata["Name"]
    }
    return "vllm-cpu" in names or "cpu" in names.get("vllm", "")


def mixed_builds() -> str | None:
    """What is wrong where torchvision was built for CUDA and torch was not; None if nothing is.

    vLLM cannot be imported then. Its CPU build asks for torchvision, of which many indexes have CUDA's alone.
    """
    found = {dist.metadata["Name"]: dist.version for dist in metadata.distributions()}
    torch, torchvision = found.get("torch", ""), found.get("torchvision")
    if torchvision is None or not torch.endswith("+cpu") or torchvision.endswith("+cpu"):
        return None
    return (
        f"torchvision: {torchvision} is wrong because it was built for CUDA and torch, {torch}, was not; "
        "serving text needs none: pip uninstall torchvision torchaudio torchcodec"
    )


def prepare_environment(model: str, cpu: bool) -> None:
    """Set what vLLM and torch read when they are imported; what the user has set stays."""
    defaults = QUIET | LIMITS
    if cpu:
        defaults |= CPU_ENVIRONMENT
        if (os.cpu_count() or 1) <= SMALL_MACHINE_CORES:
            defaults["OMP_NUM_THREADS"] = "1"
    if Path(model).is_dir():
        defaults |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def vllm_arguments(
    model: str, rest: Sequence[str], cpu: bool, log_format: str = "text", *, updates: bool = False
) -> list[str]:
    """vLLM's command line: the user's flags after our defaults for those not given.

    updates: the weights may be replaced, by a trainer, who wants log-probabilities as tokens were sampled.
    """
    given = {arg.split("=")[0].replace("_", "-") for arg in rest if arg.startswith("--")}
    defaults = {
        "--host": ["127.0.0.1"],
        "--scheduling-policy": ["priority"],
        "--shutdown-timeout": [DRAIN_SECONDS],
    }
    if log_format == "json":
        defaults |= {"--logging-config.formatter": ["json"], "--disable-uvicorn-access-log": []}
    if updates:
        defaults |= {
            "--worker-extension-cls": ["serve.weights.WeightUpdates"],
            "--logprobs-mode": ["processed_logprobs"],
        }
    if Path(model).is_dir():
        shipped = Path(model).resolve() == DEFAULT_MODEL.resolve()
        defaults["--served-model-name"] = [DEFAULT_MODEL_NAME if shipped else Path(model).resolve().name]
    if cpu:
        defaults |= {
            "--enforce-eager": [],
            "--block-size": ["32"],
            "--worker-cls": ["serve.cpu_worker.SeedSafeCPUWorker"],
        }
    given |= {"--" + flag.removeprefix("--no-") for flag in given if flag.startswith("--no-")}
    ours = [part for flag, value in defaults.items() if flag not in given for part in (flag, *value)]
    return ["--model", model, *ours, *rest]


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code."""
    ours, rest = parse(sys.argv[1:] if argv is None else list(argv))
    model = ours.model or str(DEFAULT_MODEL)
    cpu = is_cpu_build()
    prepare_environment(model, cpu)
    if cpu and (problem := mixed_builds()) is not None:
        print(f"{ERROR}{problem}", file=sys.stderr)
        return WRONG_USAGE
    if Path(model).is_dir() and ours.help is None:
        try:
            from_files = not any(arg.startswith("--load-format") for arg in rest)
            check_checkpoint(Path(model), weights=from_files and not ours.describe)
        except ValueError as error:
            print(f"{ERROR}{error}", file=sys.stderr)
            return WRONG_USAGE
    if ours.describe:
        from serve import describe

        return describe.run(model, ours, rest)

    from serve import server

    updates = ours.weight_updates is not None
    arguments = vllm_arguments(model, rest, cpu, ours.log_format, updates=updates)
    return server.run(ours, arguments, show_help=ours.help == "all")


if __name__ == "__main__":
    sys.exit(main())
