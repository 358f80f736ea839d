"""Run a cold start or fusion stage: from a checkpoint to the next, resumable at any point."""

import math
import shutil
from pathlib import Path

from accelerate import PartialState
from trl import SFTConfig

from serve.formats import ThinkingFormat, load_format
from trainer.checkpoints import load_model, load_tokenizer, save_checkpoint
from trainer.context import StageContext
from trainer.progress import Progress
from trainer.recipe.stages import ColdStart, Fusion, Rejection, SFTStage
from trainer.rollouts import open_backend
from trainer.rows.draw import RowSource
from trainer.rows.rejection import read_kept, sample_thinking
from trainer.sft.held_out import HeldOut, held_out_examples
from trainer.sft.plan import Plan
from trainer.sft.state import newest_whole, steps_done
from trainer.sft.trainer import RowTrainer
from trainer.sources import ExampleStream, open_sources


def run_stage(context: StageContext) -> None:
    """Train the stage, going on from what its folder holds, and leave `context.checkpoint`.

    `context.folder` holds `state/` while the stage runs: transformers' checkpoint folders.

    Raises:
        ValueError: the data cannot be trained on; or the loss is no number.
    """
    stage = context.stage
    assert isinstance(stage, ColdStart | Fusion)
    state = context.folder / "state"
    tokenizer = load_tokenizer(context.start)
    form = load_format(tokenizer, context.start)
    model = load_model(context.start, context.recipe.model)
    examples = open_sources(stage.data, context.seed)
    thinking = None
    if isinstance(stage, Fusion) and stage.rejection is not None:
        thinking = own_thinking(context, stage.rejection, form, examples)
    source = RowSource(stage, context.seed, form, examples, thinking)
    plan = Plan(source, stage, PartialState().num_processes)
    held_out = None
    if stage.evaluate_every:
        tokens = stage.micro_batch_tokens or stage.batch_tokens
        held_out = HeldOut(held_out_examples(stage), form, tokens)
    arguments = training_arguments(context, stage, plan, state)
    resumed = newest_whole(state)
    with Progress(context, plan.steps, steps_done(resumed)) as progress:

        def on_step(step: int, metrics: dict[str, float], tokens: int) -> None:
            if not math.isfinite(metrics["loss"]):
                raise ValueError(
                    f"{stage.name}: the loss is {metrics['loss']} in step {step}; give a lower learning rate"
                )
            if held_out is not None and (step % stage.evaluate_every == 0 or step == plan.steps):
                metrics |= held_out.measure(
                    trainer.model_wrapped, trainer.vocabulary, trainer.accelerator.device
                )
            progress.log(step, metrics, tokens)

        trainer = RowTrainer(model, tokenizer, plan, stage, arguments, on_step)
        trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    save_checkpoint(trainer.accelerator.unwrap_model(trainer.model), tokenizer, context.checkpoint, weights)
    if trainer.accelerator.is_main_process:
        shutil.rmtree(state)


def own_thinking(
    context: StageContext, settings: Rejection, form: ThinkingFormat, examples: ExampleStream
) -> ExampleStream:
    """The thinking half of fusion, sampled from the stage's first checkpoint into `rejection/`."""
    folder = context.folder / "rejection"
    backend = open_backend(settings.rollouts, context.start, context.seed)
    try:
        sample_thinking(settings, backend, form, examples, context.seed, folder)
    finally:
        backend.close()
    return read_kept(folder, context.seed)


def training_arguments(context: StageContext, stage: SFTStage, plan: Plan, state: Path) -> SFTConfig:
    """What TRL is told; all else it would decide itself (precision, logging, hub) is set here too."""
    on_cpu = PartialState().device.type == "cpu"
    return SFTConfig(
        output_dir=str(state),
        seed=context.seed,
        max_steps=plan.steps,
        per_device_train_batch_size=1,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_num_workers=0 if on_cpu else 1,
        max_grad_norm=stage.optimizer.max_grad_norm,
        use_cpu=on_cpu,
        # Weights in float32 are multiplied in bfloat16 where a GPU is; on a CPU that would be slower.
        bf16=not on_cpu and context.recipe.model.dtype == "float32",
        gradient_checkpointing=context.recipe.model.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        average_tokens_across_devices=False,
        save_steps=stage.checkpoint_every,
        # The one before stays until the newest is sealed.
        save_total_limit=2,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
