"""The page of `make reproduce`, from results made by hand: every part is there, with their numbers."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from evals.load.report import write_load_report
from evals.load.store import LoadStore
from evals.report.write import write_report
from serve.profile import PROFILE
from tests.evals.made_runs import direct, simulated, write
from tests.serve.made_profile import document, write_profile
from tests.trainer.made_ablation import Made, MadeStage, write_stage
from trainer.ablation.measure import Measured
from trainer.ablation.numbers import ablation_numbers
from trainer.ablation.plot import draw
from trainer.reproduce.page import write_page
from trainer.reproduce.steps import Folders, plan

QUICK = Path(__file__).parents[2] / "trainer" / "recipes" / "quick.toml"


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """What a finished chain leaves."""
    at = Folders(tmp_path_factory.mktemp("reproduction"))
    write_report(simulated(at.curve, problems=30, samples=1))
    _training(at.training)
    _ablation(at.ablation)
    _efforts(at.efforts)
    _load(at.load)
    return at


def _training(folder: Path) -> None:
    records = {
        "base": [{"step": step, "tokens": 0, "loss": 1 / step} for step in range(1, 9)],
        "general_rl": [
            {"step": step, "tokens": 0, "reward/correctness": 0.5, "eval/think": 0.6} for step in (1, 2)
        ],
    }
    for name, lines in records.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "recipe.json").write_text(json.dumps({"stages": [{"name": name} for name in records]}))


def _ablation(folder: Path) -> None:
    made = {f"p{i}": Made(9, ["max", "50%"] if i % 2 else []) for i in range(20)}
    ways = {"said": {problem: True for problem in made}}
    write_stage(folder, "base", MadeStage(made, ways), (0, 4, "max"))
    numbers = ablation_numbers([Measured("base", Path("nowhere"), None)], folder)
    (folder / "ablation.json").write_text(json.dumps(numbers))
    (folder / "ablation.png").write_bytes(draw(numbers))


def _efforts(folder: Path) -> None:
    """100 problems: 80 right at the peak, and 72 of them at low effort, which promises 90 %."""
    levels = document()["recommended"]
    for told in levels.values():
        told |= {"share": 0.9, "accuracy": 0.75}
    folder.mkdir()
    write_profile(folder / PROFILE, recommended=levels, rule="As made here.")
    for name, budget, right in (("levels", "low", 72), ("peak", "max", 80)):
        replies = [direct(f"p{i:03}", budget, answer="7" if i < right else "1") for i in range(100)]
        write(folder / name, replies, {"mode": "direct"}, budgets=(budget,))


def _load(folder: Path) -> None:
    """One load, twenty requests an arm: 2 s each without shedding, half a second with it."""
    settings = {
        "model": "made",
        "problems": ["made"],
        "asked": ["p"],
        "utilisation": 0.7,
        "max_num_seqs": 4,
        "seconds": 10.0,
        "families": False,
    }
    rows: list[dict[str, Any]] = [
        {"kind": "capacity", "arm": "plain", "requests_per_second": 10.0, "concurrency": 4, "seconds": 5.0},
        {"kind": "target", "seconds": 1.0, "from": "as given"},
    ]
    for arm, seconds in (("plain", 2.0), ("shedding", 0.5)):
        reply = {"kind": "reply", "arm": arm, "load": 2.0, "gold": "7", "subject": "s", "level": 1}
        reply |= {"due": 1.0, "sent": 1.0, "ended": 1.0 + seconds, "answer": r"\boxed{7}", "tokens": 9}
        reply |= {"report": {"tokens": 5, "budget": 8}, "error": None}
        rows += [{**reply, "index": i, "problem": f"p{i}"} for i in range(20)]
        rows.append({"kind": "level", "arm": arm, "load": 2.0, "rate": 2.0, "seconds": 10.0, "replies": 20})
    LoadStore(folder, settings).add(rows)
    write_load_report(folder)


def test_every_part_is_on_the_page(at: Folders) -> None:
    steps = plan(at.out, QUICK, 300)
    html = write_page(at, steps, {step.name: 61 for step in steps}).read_text("utf-8")
    parts = re.findall(r'<section id="(\w+)"', html)
    assert parts == ["steps", "curve", "training", "ablation", "calibration", "levels", "load"]
    text = unescape(re.sub(r"<[^>]+>", " ", html.partition('<script type="application/json"')[0]))
    for step in steps:
        assert text.count(step.line) >= 2, f"{step.name}: in the list, and below its numbers"
    assert "6:06 minutes" in text
    assert "90.0 [" in text
    assert "As made here." in text
    assert "1 of 1 promises lie in the 95 % interval" in text
    assert "2.00 times the target of 1 s without shedding and 0.50 times with it" in text
    assert html.count('src="data:image/png;base64,') == 4
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    assert "img-src data:" in policy[1]
    assert not re.search(r'(src|href)="(?!data:|#)', html), "it requests nothing"


def test_a_missing_result_is_named(at: Folders, tmp_path: Path) -> None:
    steps = plan(tmp_path, QUICK, 300)
    with pytest.raises(FileNotFoundError, match=r"summary\.json"):
        write_page(Folders(tmp_path), steps, {})
