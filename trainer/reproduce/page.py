"""The page of a reproduction: every figure of the chain, each with the command that makes it again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evals.load.report import headline as load_headline
from evals.load.report import level_table as load_table
from evals.load.report import setup as load_setup
from evals.report.headline import headline
from evals.report.page import calibration_section, curve_section, figure_data
from evals.report.pages.document import Section, document
from evals.report.tables import Table
from evals.wording import clock
from serve.bench.results import cpu_model, usable_cores
from trainer.ablation.tables import PLOT, ablation_tables
from trainer.reproduce.levels import levels_section
from trainer.reproduce.steps import Folders, Step
from trainer.reproduce.training import draw as draw_training


def write_page(at: Folders, steps: Sequence[Step], took: Mapping[str, float]) -> Path:
    """Write `index.html` of a finished chain and return its path. took: seconds by step."""
    by_name = {step.name: step for step in steps}
    summary = _read(at.curve / "summary.json")
    made = [
        (curve_section(summary), ["curve"]),
        (_training(at), ["train"]),
        (_ablation(at), ["ablation"]),
        (calibration_section(summary), ["curve"]),
        (levels_section(at.efforts), ["profile", "efforts"]),
        (_load(at), ["load"]),
    ]
    text = document(
        kind="thinkdial, reproduced",
        title="From nothing to a model with a measured dial",
        headline=headline(summary),
        setup=f"All of it on {machine()}, in {clock(sum(took.values()))} minutes, by thinkdial "
        f"{version('thinkdial')}. Every random choice has a seed; times, and what depends on them, are this "
        "machine's.",
        sections=[
            _steps(steps, took),
            *(
                _with_commands(section, [by_name[name] for name in names])
                for section, names in made
                if section is not None
            ),
        ],
        data=figure_data(summary),
        footer="Made by make reproduce. This page requests nothing from anywhere.",
    )
    at.page.write_text(text, "utf-8")
    return at.page


def machine() -> str:
    """The processor this runs on, and how many of its cores it may use."""
    cores = usable_cores()
    return f"{cpu_model()} ({cores} {'core' if cores == 1 else 'cores'})"


def _steps(steps: Sequence[Step], took: Mapping[str, float]) -> Section:
    rows = [[step.name, clock(took[step.name]), step.line] for step in steps]
    note = "Each one is a public command, and goes on where it was stopped."
    return Section(
        "steps",
        "Steps",
        "What was run",
        shown=[Table("Commands, in order", note, ["step", "minutes", "command"], rows)],
    )


def _training(at: Folders) -> Section:
    """The curves of all stages, in the order in which they were trained."""
    stages = [at.training / stage["name"] for stage in _read(at.training / "recipe.json")["stages"]]
    return Section(
        "training",
        "Training",
        "How it learnt",
        "Supervised stages by their loss; stages of reinforcement learning by the share of replies that are "
        "right: those sampled to learn from, and held-out ones with thinking and without.",
        picture=("metrics of every stage, by step", draw_training(stages)),
    )


def _ablation(at: Folders) -> Section:
    """What each stage was worth."""
    first, *others = ablation_tables(_read(at.ablation / "ablation.json"))
    return Section(
        "ablation",
        "Ablation",
        "What each stage was worth",
        "Every stage's checkpoint on the same held-out problems. Right: traces cut at half of their own "
        "length, above no_think on the same problems.",
        shown=[first],
        tables=others,
        picture=("accuracy of every stage by thinking budget", (at.ablation / PLOT).read_bytes()),
    )


def _load(at: Folders) -> Section:
    """More load than the server can carry, with and without load shedding."""
    summary = _read(at.load / "load.json")
    return Section(
        "load",
        "Load",
        "Under load",
        f"{load_headline(summary)} {load_setup(summary)}",
        picture=("latency, accuracy and goodput by load", (at.load / "load.png").read_bytes()),
        shown=[load_table(summary)],
    )


def _with_commands(section: Section, steps: Sequence[Step]) -> Section:
    """The section, and below it the commands that make its numbers."""
    commands = Table("Made by", "", ["step", "command"], [[step.name, step.line] for step in steps])
    return replace(section, shown=[*section.shown, commands])


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content
