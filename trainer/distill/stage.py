"""Run a distillation stage: SFT on the teacher's replies, then its distributions on the student's own.

Each phase has a folder of its own, `off_policy/` and `on_policy/`, with its metrics and training state; the
teacher's replies are in `teacher.jsonl`. The stage's own `metrics.jsonl` measures the student before the
first phase and after each, as steps 1, 2 and 3.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import AutoModelForCausalLM, PreTrainedModel
from trl import DistillationConfig

from serve.formats import load_format
from trainer.checkpoints import load_model, load_tokenizer, local_folder
from trainer.context import StageContext
from trainer.distill.measure import HeldOut
from trainer.distill.on_policy import OnPolicyTrainer, Prompts
from trainer.distill.prompts import PromptStream
from trainer.distill.replies import TeacherRows, sample_replies
from trainer.distill.vocabulary import check_same_vocabulary
from trainer.progress import Progress
from trainer.progress.records import read_records
from trainer.recipe.stages import ColdStart, Distill, OnPolicy
from trainer.rl.evaluation import held_out_problems
from trainer.rollouts import open_backend
from trainer.sft.sealed import check_loss, leave_checkpoint, shared_arguments
from trainer.sft.stage import train_rows
from trainer.sft.state import drop_halves, newest_whole, steps_done
from trainer.sources import open_sources


def run_stage(context: StageContext) -> None:
    """Distill from `context.start` to `context.checkpoint`, or go on where a killed run was.

    Raises:
        ValueError: teacher and student have different vocabularies; the teacher has no replies that can be
            used; prompts_per_step cannot be divided; or the loss is no number.
    """
    stage = context.stage
    assert isinstance(stage, Distill)
    teacher = local_folder(stage.teacher)
    check_same_vocabulary(context.start, teacher)
    if stage.on_policy is not None:
        _rows_of_a_pass(stage.on_policy)
    phases = [name for name in ("off_policy", "on_policy") if getattr(stage, name) is not None]
    start = context.start
    _measure(context, teacher, start, 1, len(phases) + 1)
    for number, name in enumerate(phases, start=2):
        phase = replace(
            context,
            # For the names of its lines and of its run in trackers.
            stage=stage.model_copy(update={"name": f"{stage.name}_{name}"}),
            start=start,
            folder=context.folder / name,
        )
        if not _exists(phase.checkpoint):
            PHASES[name](phase, teacher)
        start = phase.checkpoint
        _measure(context, teacher, start, number, len(phases) + 1)
    if PartialState().is_main_process:
        start.rename(context.checkpoint)
    PartialState().wait_for_everyone()


def off_policy(context: StageContext, teacher: Path) -> None:
    """Sample and grade the teacher's replies, then train on them."""
    stage, seed = context.stage, context.seed
    assert isinstance(stage, Distill)
    settings = stage.off_policy
    assert settings is not None
    examples = open_sources(stage.data, seed)
    asked, answered = (
        PromptStream(
            examples,
            stage.modes,
            load_format(load_tokenizer(folder), folder),
            seed,
            "off_policy",
            settings.samples,
        )
        for folder in (teacher, context.start)
    )
    path = context.folder.parent / "teacher.jsonl"
    wanted = settings.problems * settings.samples
    if len(read_records(path)) < wanted:
        backend = open_backend(stage.rollouts, teacher, seed)
        try:
            sample_replies(path, asked, wanted, stage.rollouts, backend)
        finally:
            backend.close()
    rows = TeacherRows(path, answered, settings, seed)
    kept = ", ".join(f"{number} {kind}" for kind, number in rows.kept.items())
    PartialState().print(f"{stage.name}: {kept} of the teacher's {wanted} replies are kept", file=sys.stderr)
    training = ColdStart(
        name=stage.name,
        optimizer=stage.optimizer,
        tokens=settings.tokens,
        batch_tokens=settings.batch_tokens,
        micro_batch_tokens=settings.micro_batch_tokens,
        max_length=rows.longest,
        checkpoint_every=stage.checkpoint_every,
    )
    train_rows(replace(context, stage=training), training, rows)


def on_policy(context: StageContext, teacher: Path) -> None:
    """Draw the student's distributions on its own replies to the teacher's."""
    stage, seed = context.stage, context.seed
    assert isinstance(stage, Distill)
    settings = stage.on_policy
    assert settings is not None
    optimizer = settings.optimizer or stage.optimizer
    tokenizer = load_tokenizer(context.start)
    form = load_format(tokenizer, context.start)
    state = context.folder / "state"
    arguments = DistillationConfig(
        **shared_arguments(context, optimizer, settings.steps, state),
        per_device_train_batch_size=_rows_of_a_pass(settings),
        gradient_accumulation_steps=settings.micro_batches,
        beta=settings.beta,
        temperature=settings.temperature,
        shuffle_dataset=False,
    )
    prompts = PromptStream(open_sources(stage.data, seed), stage.modes, form, seed, "on_policy")
    drop_halves(state)
    resumed = newest_whole(state)
    backend = open_backend(stage.rollouts, context.start, seed)
    try:
        with Progress(context, settings.steps, steps_done(resumed)) as progress:

            def on_step(step: int, metrics: dict[str, float], tokens: int) -> None:
                check_loss(stage.name, step, metrics)
                progress.log(step, metrics, tokens)
                if stage.evaluate_every and step % stage.evaluate_every == 0:
                    trainer.sync()
                    progress.log(step, held_out.measure(trainer.model_wrapped, backend))
                    progress.traces(step, trainer.traces())

            trainer = OnPolicyTrainer(
                load_model(context.start, context.recipe.model),
                _load_plain(teacher, context),
                form,
                Prompts(prompts, settings.steps * settings.prompts_per_step),
                backend,
                stage.rollouts,
                optimizer,
                arguments,
                on_step,
            )
            problems = held_out_problems(context.recipe, stage) if stage.evaluate_every else []
            held_out = HeldOut(problems, stage.rollouts, form, trainer.teacher_model)
            trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    finally:
        backend.close()
    leave_checkpoint(trainer, tokenizer, context)


PHASES = {"off_policy": off_policy, "on_policy": on_policy}


def _measure(context: StageContext, teacher: Path, checkpoint: Path, number: int, total: int) -> None:
    """Log held-out accuracy and divergence of a checkpoint as step `number`, unless that is done."""
    stage = context.stage
    assert isinstance(stage, Distill)
    measured = {record["step"] for record in read_records(context.folder / "metrics.jsonl")}
    PartialState().wait_for_everyone()
    if not stage.evaluate_every or number in measured:
        return
    form = load_format(load_tokenizer(checkpoint), checkpoint)
    student, teacher_model = _load_plain(checkpoint, context), _load_plain(teacher, context)
    held_out = HeldOut(held_out_problems(context.recipe, stage), stage.rollouts, form, teacher_model)
    backend = open_backend(stage.rollouts, checkpoint, context.seed)
    try:
        metrics = held_out.measure(student, backend)
    finally:
        backend.close()
    with Progress(context, total, number - 1) as progress:
        progress.log(number, metrics)


def _load_plain(folder: Path, context: StageContext) -> PreTrainedModel:
    """A model to compute with, not to train."""
    dtype = getattr(torch, context.recipe.model.dtype)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    return model.requires_grad_(False).eval().to(PartialState().device)


def _rows_of_a_pass(settings: OnPolicy) -> int:
    """Prompts in one forward pass of one process; ValueError if they cannot be divided so."""
    passes = PartialState().num_processes * settings.micro_batches
    if settings.prompts_per_step % passes:
        raise ValueError(
            f"on_policy.prompts_per_step: {settings.prompts_per_step} is wrong because it is divided over "
            f"{PartialState().num_processes} processes and {settings.micro_batches} micro_batches; give a "
            f"multiple of {passes}"
        )
    return settings.prompts_per_step // passes


def _exists(folder: Path) -> bool:
    """Whether a folder is there, the same on every process: nobody goes on before everyone has looked."""
    found = folder.exists()
    PartialState().wait_for_everyone()
    return found
