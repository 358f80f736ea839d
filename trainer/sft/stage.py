"""Run a cold start or fusion stage: from a checkpoint to the next, resumable at any point."""

import sys

from accelerate import PartialState
from trl import SFTConfig

from serve.formats import ThinkingFormat, load_format
from trainer.checkpoints import check_one_tokenizer, load_model, load_tokenizer
from trainer.context import StageContext
from trainer.processes import join_processes
from trainer.progress import Progress
from trainer.recipe.stages import ColdStart, Fusion, Rejection, SFTStage
from trainer.rollouts import open_backend
from trainer.rows.draw import RowSource
from trainer.rows.rejection import missing_blocks, read_kept, sample_thinking
from trainer.run import checkpoint_folder
from trainer.sft.held_out import HeldOut, held_out_examples
from trainer.sft.plan import SAMPLED_ROWS, Plan, Rows
from trainer.sft.sealed import check_loss, leave_checkpoint, shared_arguments
from trainer.sft.state import drop_halves, newest_whole, steps_done
from trainer.sft.trainer import RowTrainer
from trainer.sources import ExampleStream, open_sources


def run_stage(context: StageContext) -> None:
    """Train the stage, going on from what its folder holds, and leave `context.checkpoint`.

    Raises:
        ValueError: the data cannot be trained on; or the loss is no number.
    """
    join_processes()
    stage = context.stage
    assert isinstance(stage, ColdStart | Fusion)
    form = load_format(load_tokenizer(context.start), context.start)
    examples = open_sources(stage.data, context.seed)
    thinking = None
    if isinstance(stage, Fusion) and stage.rejection is not None:
        thinking = own_thinking(context, stage.rejection, form, examples)
    train_rows(context, stage, RowSource(stage, context.seed, form, examples, thinking))


def own_thinking(
    context: StageContext, settings: Rejection, form: ThinkingFormat, examples: ExampleStream
) -> ExampleStream:
    """The thinking half of fusion, sampled from `settings.sampled_from` into `rejection/`.

    Raises:
        ValueError: that checkpoint has another tokenizer than the stage's first one.
    """
    folder = context.folder / "rejection"
    if missing_blocks(settings, folder):
        checkpoint = context.start
        if settings.sampled_from is not None:
            field = f"stages.{context.stage.name}.rejection.sampled_from"
            checkpoint = checkpoint_folder(context.recipe, settings.sampled_from, field, context.run)
            check_one_tokenizer(context.start, checkpoint, field)
        backend = open_backend(settings.rollouts, checkpoint, context.seed)
        try:
            sample_thinking(settings, backend, form, examples, context.seed, folder)
        finally:
            backend.close()
    # No process reads before all have written.
    PartialState().wait_for_everyone()
    return read_kept(folder, context.seed)


def train_rows(context: StageContext, stage: SFTStage, rows: Rows) -> None:
    """Train `context.start` on rows as the stage says, and leave `context.checkpoint`.

    Meanwhile `context.folder` holds `state/`: transformers' checkpoint folders, from which a killed run
    goes on.

    Raises:
        ValueError: the rows cannot be trained on; or the loss is no number.
    """
    processes = join_processes()
    state = context.folder / "state"
    tokenizer = load_tokenizer(context.start)
    model = load_model(context.start, context.recipe.model)
    plan = Plan(rows, stage, processes.num_processes)
    for reason, count in plan.left_out.items():
        processes.print(
            f"{stage.name}: {count} of the first {SAMPLED_ROWS} rows are left out: {reason}", file=sys.stderr
        )
    held_out = None
    if stage.evaluate_every:
        form = load_format(tokenizer, context.start)
        tokens = stage.micro_batch_tokens or stage.batch_tokens
        held_out = HeldOut(held_out_examples(stage), form, tokens)
    arguments = SFTConfig(
        **shared_arguments(context, stage.optimizer, plan.steps, state),
        per_device_train_batch_size=1,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_num_workers=0 if processes.device.type == "cpu" else 1,
    )
    drop_halves(state)
    resumed = newest_whole(state)
    with Progress(context, plan.steps, steps_done(resumed)) as progress:

        def on_step(step: int, metrics: dict[str, float], tokens: int) -> None:
            check_loss(stage.name, step, metrics)
            if held_out is not None and (step % stage.evaluate_every == 0 or step == plan.steps):
                metrics |= held_out.measure(
                    trainer.model_wrapped, trainer.vocabulary, trainer.accelerator.device
                )
            progress.log(step, metrics, tokens)

        trainer = RowTrainer(model, tokenizer, plan, stage, arguments, on_step)
        trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    leave_checkpoint(trainer, tokenizer, context)
