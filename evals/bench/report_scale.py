"""How long and how much memory the numbers of a large run take: `summary.json` from many stored samples.

    python -m evals.bench.report_scale --samples 100000

Simulates a run of that many graded samples (problem x sample x budget) with token ids and log probabilities,
and summarises it in a process of its own: once with nothing graded, once with the grades kept. The status is
1 if the first takes 30 seconds or more for each 100,000 samples, or 1 GiB or more of memory (peak resident
set).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SECONDS = 30.0
BYTES = 1 << 30
BUDGETS = (0, 64, 128, 256, 512, 1024, 2048, 4096, 8192, "max")
SAMPLES_A_PROBLEM = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m evals.bench.report_scale", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--samples", type=int, default=100_000, help="graded samples (100000)")
    parser.add_argument("--length", type=int, default=800, help="median natural thinking in tokens (800)")
    parser.add_argument("--report", action="store_true", help="write the whole report, pages too")
    parser.add_argument("--once", action="store_true", help="with nothing graded only")
    parser.add_argument("--summarise", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.summarise is not None:
        print(json.dumps(_summarise(options.summarise, options.report)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        records = _simulate(directory, options.samples, options.length)
        size = (directory / "samples.jsonl").stat().st_size
        print(f"{records:,} records, {size / 1e6:,.0f} MB")
        arguments = ["--report"] if options.report else []
        names = ["nothing graded", "grades kept"][: 1 if options.once else 2]
        rows = [_measure(directory, arguments) for _ in names]
    for name, row in zip(names, rows, strict=True):
        print(
            f"{name:>15}: {row['samples']:,.0f} samples in {row['seconds']:.1f} s "
            f"({row['cpu']:.1f} s of CPU), {row['bytes'] / 2**20:.0f} MiB"
        )
    first = rows[0]
    most = SECONDS * max(1.0, options.samples / 100_000)
    return 0 if first["seconds"] < most and first["bytes"] < BYTES else 1


def _simulate(directory: Path, samples: int, length: int) -> int:
    from evals.bench.simulated_run import Simulation, write_simulation

    problems = max(1, round(samples / len(BUDGETS) / SAMPLES_A_PROBLEM))
    simulation = Simulation(
        problems=problems,
        samples=SAMPLES_A_PROBLEM,
        budgets=BUDGETS,
        length=length,
        max_tokens=16_384,
        crosscheck=0.02,
    )
    return write_simulation(directory, simulation)


def _measure(directory: Path, arguments: Sequence[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "evals.bench.report_scale", "--summarise", str(directory), *arguments]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return row


def _summarise(directory: Path, whole: bool) -> dict[str, float]:
    started = time.monotonic()
    if whole:
        from evals.report.write import write_report

        summary = write_report(directory)
    else:
        from evals.summary.summarise import write_summary

        summary = write_summary(directory)
    return {
        "samples": sum(point["n"] for point in summary["points"]),
        "seconds": time.monotonic() - started,
        "cpu": time.process_time(),
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    sys.exit(main())
