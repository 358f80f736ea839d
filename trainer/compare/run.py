"""Run a comparison: train every recipe with every seed, measure all of them on the same problems, report."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

from trainer.ablation.measure import Measured
from trainer.ablation.numbers import curve_numbers
from trainer.compare.account import Account, account_of, sampled_before
from trainer.compare.measure import measure
from trainer.compare.methods import START, Method, check_start, unevenness
from trainer.compare.numbers import comparison_numbers
from trainer.compare.plot import draw
from trainer.compare.report import PLOT, as_markdown, unevenly_used
from trainer.processes import join_processes
from trainer.progress.records import read_records
from trainer.recipe.recipe import Ablation
from trainer.recipe.stages import RLStage
from trainer.run import first_checkpoint, run_recipe

Numbers = dict[str, Any]
Progressed = list[list[tuple[float, float]]]
JSON, MARKDOWN = "comparison.json", "comparison.md"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared. settings: how checkpoints are measured. uneven: whether plans may differ."""

    methods: list[Method]
    seeds: list[int]
    settings: Ablation
    uneven: bool = False


def run_comparison(comparison: Comparison, out: Path) -> Path:
    """Train and compare into `out`; returns the folder of the report, `out / "comparison"`.

    A run is in `out / METHOD / seedN`, as `run_recipe` leaves it. Finished runs and measurements are not made
    again; a stopped comparison goes on. Raises ValueError where the methods do not begin alike, or their
    problems or planned rollout tokens differ and `uneven` does not allow it, and what training raises.
    """
    methods, seeds = comparison.methods, comparison.seeds
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: {seeds}; give two or more, each once: one says nothing of others")
    processes = join_processes()
    check_start(methods)
    differences = unevenness(methods)
    if differences and not comparison.uneven:
        raise ValueError(
            f"{'; '.join(differences)}; make the recipes alike, or give --uneven to have the differences told"
        )
    folder = out / "comparison"
    for seed in seeds:
        for method in methods:
            if processes.is_main_process:
                print(f"compare: {method.name}, seed {seed}", file=sys.stderr, flush=True)
            run_recipe(method.with_seed(seed), _run(out, method, seed))
    if processes.is_main_process:
        report(comparison, differences, out, folder)
    processes.wait_for_everyone()
    return folder


def report(comparison: Comparison, differences: Sequence[str], out: Path, folder: Path) -> Numbers:
    """Measure what is trained in `out`, and the start; write the report. Returns its numbers."""
    methods, seeds = comparison.methods, comparison.seeds
    start = first_checkpoint(methods[0].with_seed(seeds[0]), _run(out, methods[0], seeds[0]))
    measured = [Measured(START, start, None)]
    names: dict[str, list[str]] = {}
    accounts: dict[str, list[Account]] = {}
    progress: dict[str, Progressed] = {}
    for method in methods:
        runs = [_run(out, method, seed) for seed in seeds]
        names[method.name] = [f"{method.name}_seed{seed}" for seed in seeds]
        measured += [
            Measured(name, run / method.result.name / "checkpoint", START)
            for name, run in zip(names[method.name], runs, strict=True)
        ]
        accounts[method.name] = [account_of(method.recipe, run) for run in runs]
        progress[method.name] = _progress(method, runs)
    for place, stage in enumerate(measured, start=1):
        print(f"compare: measuring {stage.name} ({place} of {len(measured)})", file=sys.stderr, flush=True)
        measure(stage, start, comparison.settings, folder)
    return write_report(names, seeds, accounts, progress, differences, folder)


def write_report(
    methods: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    accounts: Mapping[str, Sequence[Account]],
    progress: Mapping[str, Progressed],
    differences: Sequence[str],
    folder: Path,
) -> Numbers:
    """Write `comparison.json`, `.md` and `.png` from the stores in `folder`; returns the numbers.

    methods: measured names, seed by seed, and so the accounts. progress: (tokens sampled, accuracy) points of
    each seed. differences: in what the plans differ.
    """
    numbers = comparison_numbers(methods, folder)
    measured = [START, *chain.from_iterable(methods.values())]
    stages = {name: curve_numbers(folder, name) for name in measured}
    means = {
        method: {key: fmean(one.to_json()[key] for one in its) for key in its[0].to_json()}
        for method, its in accounts.items()
    }
    for row in numbers["rows"]:
        row["account"] = means.get(row["method"])
    numbers |= {
        "methods": {method: list(names) for method, names in methods.items()},
        "seeds": list(seeds),
        "problems": stages[START]["problems"],
        "accounts": {method: [one.to_json() for one in its] for method, its in accounts.items()},
        "progress": {method: list(lines) for method, lines in progress.items()},
        "uneven": [f"The plans differ: {told}." for told in differences]
        or unevenly_used({method: means[method] for method in methods}),
        "stages": stages,
    }
    (folder / JSON).write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", "utf-8")
    (folder / MARKDOWN).write_text(as_markdown(numbers), "utf-8")
    (folder / PLOT).write_bytes(draw(numbers, stages))
    return numbers


def _run(out: Path, method: Method, seed: int) -> Path:
    return out / method.name / f"seed{seed}"


def _progress(method: Method, runs: Sequence[Path]) -> Progressed:
    """Held-out accuracy of each seed's last stage by tokens sampled; [] where one was not measured."""
    found = []
    for run in runs:
        records = read_records(run / method.result.name / "metrics.jsonl")
        tokens = sampled_before(method.recipe, method.result, run)
        points = [
            (tokens + (record["tokens"] if isinstance(method.result, RLStage) else 0), record["eval/think"])
            for record in records
            if "eval/think" in record
        ]
        if len(points) < 2:
            return []
        found.append(points)
    return found
