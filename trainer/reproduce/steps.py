"""The steps of `make reproduce`, each a public command that goes on where it was stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from serve.profile import PROFILE
from trainer.recipe import load_recipe

BUDGETS = "0,8,16,24,32,40,48,64,96,max"
ABLATION_PROBLEMS = 200
ABLATION_BUDGETS = "8,16,32,48,64"
MODE_PROBLEMS = 50
LOAD_SECONDS = 30
"""Of arrivals, at each load."""
LOAD_SLOTS = 4
"""Replies that the server runs at once under load. With more of so small a model the load does not wait for
thinking, but for the processes that read requests and write streams."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the chain.

    name: also of its folder below `steps/`. line: the command as it is typed, beginning with `thinkdial` or
    `python`. makes: the file it leaves. seconds: what it takes on two quiet CPU cores, to tell the time left.
    """

    name: str
    line: str
    makes: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class Folders:
    """What lies where in the folder of a reproduction."""

    out: Path

    @property
    def training(self) -> Path:
        return self.out / "train"

    @property
    def ablation(self) -> Path:
        return self.training / "ablation"

    @property
    def curve(self) -> Path:
        return self.out / "curve"

    @property
    def efforts(self) -> Path:
        return self.out / "efforts"

    @property
    def load(self) -> Path:
        return self.out / "load"

    @property
    def steps(self) -> Path:
        return self.out / "steps"

    @property
    def page(self) -> Path:
        return self.out / "index.html"


def plan(out: Path, recipe: Path, problems: int, processes: int = 1) -> list[Step]:
    """The chain, in order. problems: held-out ones of the curve, and as many others of the effort check.
    processes: that train together, on CPUs each with one thread.

    Raises ValueError for a recipe that cannot be read and for no processes, OSError where there is none.
    """
    at = Folders(out)
    stages = load_recipe(recipe, []).stages
    last = next(stage.name for stage in reversed(stages) if stage.leaves_policy)
    checkpoint = at.training / last / "checkpoint"
    train, ablation, curve, efforts, load, model = (
        quote(str(path)) for path in (at.training, at.ablation, at.curve, at.efforts, at.load, checkpoint)
    )
    return [
        Step(
            "train",
            _training(recipe, processes) + f" --out {train}",
            checkpoint / "config.json",
            1310,
        ),
        Step(
            "ablation",
            f"thinkdial train ablation {train} --limit {min(problems, ABLATION_PROBLEMS)} "
            f"--budgets {ABLATION_BUDGETS} --mode-problems {min(problems, MODE_PROBLEMS)} --out {ablation}",
            at.ablation / "ablation.json",
            170,
        ),
        Step(
            "curve",
            f"thinkdial eval sweep --model {model} --problems thinkmath --limit {problems} "
            f"--budgets {BUDGETS} --sampling greedy --logprobs 20 --out {curve}",
            at.curve / "summary.json",
            45,
        ),
        Step(
            "profile",
            f"thinkdial eval profile {curve} --checkpoint {model}",
            checkpoint / PROFILE,
            5,
        ),
        # With this tolerance no level fails the chain: what each reached is on the page.
        Step(
            "efforts",
            f"python -m evals.bench.effort_levels --model {model} --run {curve} --held-out {problems} "
            f"--tolerance 1 --out {efforts}",
            at.efforts / "peak" / "samples.jsonl",
            50,
        ),
        Step(
            "load",
            f"thinkdial eval load --model {model} --problems thinkmath --limit {problems} --families "
            f"--seconds {LOAD_SECONDS} --max-num-seqs {LOAD_SLOTS} --concurrency {8 * LOAD_SLOTS} "
            f"--utilisation 0.65 --out {load}",
            at.load / "load.json",
            380,
        ),
    ]


def _training(recipe: Path, processes: int) -> str:
    """The command that trains a recipe, without its `--out`. Raises ValueError below one process."""
    if processes < 1:
        raise ValueError(f"--processes: {processes} is wrong; give 1 or more")
    if processes == 1:
        return f"thinkdial train run {quote(str(recipe))}"
    launch = f"python -m torch.distributed.run --standalone --nproc_per_node {processes} -m trainer.cli"
    return f"{launch} run {quote(str(recipe))} --set threads=1"


def time_left(steps: Sequence[Step], took: Mapping[str, float], running: str, elapsed: float) -> float:
    """Seconds to the end of the chain: what is expected, at the pace of the steps that are done.

    took: seconds of the steps that are done, by name. elapsed: of the step `running`.
    """
    expected = sum(step.seconds for step in steps if step.name in took)
    pace = sum(took.values()) / expected if expected else 1.0
    to_come = {step.name: step.seconds * pace for step in steps if step.name not in took}
    return max(0.0, to_come.pop(running) - elapsed) + sum(to_come.values())
