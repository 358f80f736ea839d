"""Measure one checkpoint of a comparison: its budget curve, and replies sampled as its policy is.

In the comparison's folder each has `curves/NAME` and `replies/NAME` (runs of `thinkdial eval sweep`), and
`shift/NAME.json`, which is written last and ends the measurement.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from evals.store import iter_records
from evals.sweep.presets import Parameters, Sampling
from evals.sweep.run import run_sweep
from evals.sweep.settings import SweepSettings
from trainer.ablation.measure import Measured, claim, curve_folder, curve_sweep, served, write_whole
from trainer.compare.shift import Reply, Shift, shifts
from trainer.recipe.recipe import Ablation

POLICY = Sampling("policy", Parameters(1.0, 1.0, 0, 0.0), Parameters(1.0, 1.0, 0, 0.0))
"""The model's own distribution: of what is sampled so, log-probabilities are the policy's."""


def replies_folder(out: Path, name: str) -> Path:
    return out / "replies" / name


def measure(stage: Measured, start: Path, settings: Ablation, out: Path) -> None:
    """Draw what the comparison's folder lacks of a checkpoint; nothing where it is measured already.

    start: the checkpoint that all methods begin with. Raises ValueError where the folder holds measurements
    of other weights, and what sweeps raise.
    """
    claim(stage, out)
    path = _shift_file(out, stage.name)
    asked = settings.model_dump(mode="json", exclude={"stages", "mode_problems"})
    if path.is_file() and json.loads(path.read_text("utf-8"))["asked"] == asked:
        return
    with served(stage, out) as base_url:
        draw(stage.name, settings, out, base_url)
    found = shifts(stage.checkpoint, start, list(sampled_replies(out, stage.name)))
    write_whole(path, {"asked": asked, "replies": [shift.to_json() for shift in found]})


def draw(name: str, settings: Ablation, out: Path, base_url: str) -> None:
    """Draw what the folder lacks of the checkpoint `name` from its server: curve and sampled replies."""
    run_sweep(curve_sweep(settings, curve_folder(out, name)), base_url)
    sampled = SweepSettings(
        settings.problems,
        replies_folder(out, name),
        ("max",),
        limit=settings.limit,
        sampling=POLICY,
        max_tokens=settings.max_tokens,
        logprobs=0,
    )
    run_sweep(sampled, base_url)


def read_shifts(out: Path, name: str) -> list[Shift]:
    """What `measure` found of the checkpoint's sampled replies, one a problem."""
    return [Shift(**row) for row in json.loads(_shift_file(out, name).read_text("utf-8"))["replies"]]


def sampled_replies(out: Path, name: str) -> Iterator[Reply]:
    """The checkpoint's sampled replies as tokens."""
    for record in iter_records(replies_folder(out, name)):
        if record.kind == "trace":
            prompt, reply = record.prompt_token_ids, record.token_ids
            if prompt is None or not reply:
                raise RuntimeError(f"{name}: the reply to {record.problem} has no tokens to score again")
            yield Reply(record.problem, tuple(prompt), tuple(reply))


def _shift_file(out: Path, name: str) -> Path:
    return out / "shift" / f"{name}.json"
