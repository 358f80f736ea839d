"""Run a recipe: each stage from the checkpoint another one left, resumable at any point."""

import gc
import importlib
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from evals.locks import HeldError, acquire
from trainer.checkpoints import add_thinking, local_folder, new_checkpoint
from trainer.clock import clocked
from trainer.context import StageContext
from trainer.processes import join_processes
from trainer.recipe import Recipe
from trainer.recipe.average import Average
from trainer.recipe.stages import AnyStage, Fusion

RUNNERS = {
    "cold_start": "trainer.sft",
    "reasoning_rl": "trainer.rl",
    "fusion": "trainer.sft",
    "general_rl": "trainer.rl",
    "distill": "trainer.distill",
    "average": "trainer.average",
    "dpo": "trainer.preference",
    "reward_model": "trainer.reward_model.stage",
}
"""The module whose `run_stage(context)` runs a kind of stage."""
ROOMS = ("clients", "evals", "serve", "trainer")
"""Packages whose ValueErrors are about what the user gave."""
LOCK = "lock"
"""File, in the run's folder, that a running run holds."""
INIT = "init"
"""Folder, in the run's, of a model made from nothing or given thinking."""
FREE_IN_MODEL = ("gradient_checkpointing",)
"""Members that do not change what is learnt, so that a resumed run may change them."""
FREE_IN_STAGE = (
    "checkpoint_every",
    "evaluate_every",
    "held_out_problems",
    "micro_batch_tokens",
    "rollouts.urls",
    "rollouts.kv_cache_gib",
    "rollouts.sync_tolerance",
)


class RunError(ValueError):
    """A run cannot begin or go on as it is asked."""


def run_recipe(recipe: Recipe, out: Path, only: Sequence[str] = ()) -> Path:
    """Train the stages of `recipe` into `out` and return the folder of the last one's checkpoint.

    `out` holds `recipe.json`, `init/` where the model is made here, and for each stage a folder of its name:
    `checkpoint/` (what transformers and vLLM load) beside its training state. Finished stages are not run
    again; a killed one goes on from its last training state. With several processes (`accelerate launch`)
    every one of them calls this.

    only: names of the stages to run; [] runs all, and the ablation after them.

    Raises:
        RunError: `out` holds a run that has learnt something else or that another process writes to, or a
            stage's beginning is not there, or a stage cannot train on what it is given.
    """
    processes = join_processes()
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    if processes.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
    with _held(out) if processes.is_main_process else nullcontext():
        return _run_stages(recipe, out, only, processes)


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Keep other runs from writing to `out`."""
    try:
        file = acquire(out / LOCK)
    except HeldError as error:
        raise RunError(
            f"{out} is being written by another run (process {error}); wait for it, end it, or give "
            "another --out"
        ) from error
    try:
        yield
    finally:
        os.close(file)


def _run_stages(recipe: Recipe, out: Path, only: Sequence[str], processes: PartialState) -> Path:
    if processes.is_main_process:
        claim(out, recipe)
    processes.wait_for_everyone()
    checkpoint = out
    for stage in recipe.stages:
        if only and stage.name not in only:
            continue
        checkpoint = _run_stage(recipe, stage, out)
    if recipe.ablation is not None and not only and processes.is_main_process:
        from trainer.ablation import run_ablation

        run_ablation(out, recipe)
    return checkpoint


def _run_stage(recipe: Recipe, stage: AnyStage, out: Path) -> Path:
    """Run a stage unless it is finished; returns its checkpoint."""
    folder = out / stage.name
    checkpoint = folder / "checkpoint"
    if _exists(checkpoint):
        PartialState().print(f"{stage.name}: done", file=sys.stderr)
        return checkpoint
    context = StageContext(
        recipe=recipe,
        stage=stage,
        seed=recipe.seed_of(stage),
        start=start_folder(recipe, stage, out),
        run=out,
        folder=folder,
    )
    folder.mkdir(parents=True, exist_ok=True)
    runner = importlib.import_module(RUNNERS[stage.kind])
    try:
        with clocked(folder) if PartialState().is_main_process else nullcontext():
            runner.run_stage(context)
    except ValueError as error:
        if not _raised_here(error):
            raise
        raise RunError(f"stages.{stage.name}: {error}") from error
    if not checkpoint.exists():
        raise RuntimeError(f"stage {stage.name!r} ended without leaving {checkpoint}")
    # The next stage loads its own model and engine.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return checkpoint


def _raised_here(error: Exception) -> bool:
    """Whether our own code raised it, which then tells what is wrong; not a library's, or the user's."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals["__name__"].partition(".")[0] in ROOMS


def start_folder(recipe: Recipe, stage: AnyStage, out: Path) -> Path:
    """The checkpoint folder a stage begins with; made or fetched if it is the recipe's model.

    Raises:
        RunError: it is that of a stage which has not been run, or cannot be had.
    """
    start = recipe.start_of(stage)
    if start is None:
        return first_checkpoint(recipe, out)
    return checkpoint_folder(recipe, start, f"stages.{stage.name}.start", out)


def checkpoint_folder(recipe: Recipe, place: str, field: str, out: Path) -> Path:
    """The folder of a stage's checkpoint, or of one that is given by its path, which is fetched if need be.

    Raises:
        RunError: names `field`, which asks for it: the stage is not finished, or the path cannot be had.
    """
    if place not in {stage.name for stage in recipe.stages}:
        return _local_folder(Path(place), field)
    checkpoint = out / place / "checkpoint"
    if not checkpoint.exists():
        raise RunError(
            f"{field}: stage {place!r} is not finished in {out}; run it first, or begin elsewhere with "
            "--from CHECKPOINT"
        )
    return checkpoint


def first_checkpoint(recipe: Recipe, out: Path) -> Path:
    """The folder of the checkpoint a run begins with: the recipe's model, made in `out` where it must be.

    Raises RunError if the model cannot be had.
    """
    model = recipe.model
    folder = out / INIT
    if model.path is not None:
        path = _local_folder(model.path, "model.path")
        if model.thinking is None:
            return path
        if not _exists(folder):
            add_thinking(path, model, folder)
    elif model.shape is not None and not _exists(folder):
        prompts = [
            prompt
            for stage in recipe.stages
            if isinstance(stage, Fusion)
            for prompt in stage.mix.system_prompts
        ]
        taken_from = model.tokenizer and _local_folder(model.tokenizer, "model.tokenizer")
        new_checkpoint(model.shape, recipe.seed, folder, prompts, taken_from)
    return folder


def _local_folder(path: Path, field: str) -> Path:
    try:
        return local_folder(path)
    except ValueError as error:
        raise RunError(f"{field}: {error}") from error


def _exists(folder: Path) -> bool:
    """Whether a folder is there, the same on every process: nobody goes on before everyone has looked."""
    found = folder.exists()
    PartialState().wait_for_everyone()
    return found


def claim(out: Path, recipe: Recipe) -> None:
    """Hold `out` for this recipe, in `recipe.json`.

    What no stage has learnt from yet may change, and so may members that do not change what is learnt.

    Raises:
        RunError: names the members in which a stage that has begun differs.
    """
    different = differences(out, recipe)
    if different:
        raise RunError(
            f"{out} holds a run whose {', '.join(different)} differ from this recipe's; give the same values "
            "to resume it, or another --out"
        )
    partial = out / "recipe.partial"
    partial.write_text(json.dumps(_resolved(recipe), indent=2) + "\n", encoding="utf-8")
    partial.replace(out / "recipe.json")


def differences(out: Path, recipe: Recipe) -> list[str]:
    """In which members the run in `out`, if any, has learnt from something else than this recipe says."""
    path = out / "recipe.json"
    if not path.exists():
        return []
    before = _learnt(json.loads(path.read_text(encoding="utf-8")), out)
    after = _learnt(_resolved(recipe), out)
    both = before.keys() & after.keys()
    return sorted(key for key in before.keys() | after.keys() if key not in both or before[key] != after[key])


def _resolved(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON's types, each stage that has them with what it begins with and its seed."""
    members = recipe.model_dump(mode="json")
    for resolved, stage in zip(members["stages"], recipe.stages, strict=True):
        if not isinstance(stage, Average):
            resolved |= {"start": recipe.start_of(stage), "seed": recipe.seed_of(stage)}
    return members


def _learnt(recipe: dict[str, Any], out: Path) -> dict[str, Any]:
    """What the run in `out` has learnt from: members of the model and of every stage that has begun."""
    begun = [stage for stage in recipe["stages"] if (out / stage["name"]).exists()]
    members = {f"stages.{stage['name']}": stage for stage in begun}
    if begun or (out / INIT).exists():
        members |= {"seed": recipe["seed"], "model": recipe["model"]}
    free = re.compile(rf"model\.({'|'.join(FREE_IN_MODEL)})|stages\.\w+\.({'|'.join(FREE_IN_STAGE)})")
    return {key: value for key, value in _flat(members).items() if not free.fullmatch(key)}


def _flat(members: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in members.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
