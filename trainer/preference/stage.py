"""Run a preference stage: replies sampled and judged (or given), pairs, training; resumable throughout.

Its folder holds `replies.jsonl` (sampled replies), `pairs.jsonl` (pairs, to be read), `reference/` (the
reference's log-probabilities) and, until it ends, `state/`.
"""

import sys

from trl import DPOConfig

from serve.formats import load_format
from trainer.checkpoints import load_model, load_tokenizer
from trainer.context import StageContext
from trainer.preference.gather import REPLIES, backend_on_demand, stage_pairs
from trainer.preference.held_out import HeldOut, HeldOutPairs, HeldOutReplies
from trainer.preference.plan import PairPlan
from trainer.preference.source import PairSet, prompt_stream
from trainer.preference.trainer import PairTrainer
from trainer.processes import join_processes
from trainer.progress import Progress
from trainer.progress.records import read_records
from trainer.recipe.stages import DPO
from trainer.sft.sealed import check_loss, leave_checkpoint, shared_arguments
from trainer.sft.state import drop_halves, newest_whole, steps_done

REFERENCE = "reference"


def run_stage(context: StageContext) -> None:
    """Train the stage, going on from what its folder holds, and leave `context.checkpoint`.

    Raises:
        ValueError: there are no pairs, or what is given as such is wrong; or the loss is no number.
    """
    join_processes()
    stage = context.stage
    assert isinstance(stage, DPO)
    with backend_on_demand(context, stage) as backend:
        pairs = stage_pairs(context, stage, backend)
        if stage.pairs.path is None and stage.evaluate_every:
            form = load_format(load_tokenizer(context.start), context.start)
            prompts = prompt_stream(stage, context.seed, form)
            records = read_records(context.folder / REPLIES)[: stage.pairs.held_out]
            replies = HeldOutReplies(context, stage.pairs, prompts, records, backend())
            train(context, stage, pairs, replies)
            return
    # Its memory is better used by training.
    train(context, stage, pairs, None)


def train(context: StageContext, stage: DPO, pairs: PairSet, replies: HeldOutReplies | None) -> None:
    """Train `context.start` on pairs, and leave `context.checkpoint`."""
    processes = join_processes()
    left_out = "".join(f"; {count} {reason}" for reason, count in pairs.left_out.items())
    processes.print(
        f"{stage.name}: {len(pairs.training)} pairs to train on, {len(pairs.held_out)} held out{left_out}",
        file=sys.stderr,
    )
    state = context.folder / "state"
    tokenizer = load_tokenizer(context.start)
    plan = PairPlan(pairs.training, stage, context.seed, processes.num_processes)
    arguments = DPOConfig(
        **shared_arguments(context, stage.optimizer, plan.steps, state),
        per_device_train_batch_size=1,
        train_sampling_strategy="sequential",
        precompute_ref_log_probs=True,
        max_length=None,
        dataloader_num_workers=0 if processes.device.type == "cpu" else 1,
    )
    drop_halves(state)
    resumed = newest_whole(state)
    with Progress(context, plan.steps, steps_done(resumed)) as progress:

        def on_step(step: int, metrics: dict[str, float], tokens: int) -> None:
            check_loss(stage.name, step, metrics)
            progress.log(step, metrics, tokens)
            if held_out is not None and (step % stage.evaluate_every == 0 or step == plan.steps):
                progress.log(step, held_out.measure(trainer.model_wrapped, step))
                progress.traces(step, held_out.traces)

        trainer = PairTrainer(
            load_model(context.start, context.recipe.model),
            tokenizer,
            pairs.training,
            pairs.held_out,
            stage,
            plan,
            context.folder / REFERENCE,
            arguments,
            on_step,
        )
        held_out = None
        if stage.evaluate_every:
            measured = HeldOutPairs(stage, pairs.held_out, trainer.held_out_reference)
            held_out = HeldOut(measured, replies)
        if resumed is None and (start := starting_metrics(context, held_out, trainer)):
            progress.log(0, start)
        trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    leave_checkpoint(trainer, tokenizer, context)


def starting_metrics(
    context: StageContext, held_out: HeldOut | None, trainer: PairTrainer
) -> dict[str, float]:
    """What is known before the first step: the tokens sampled for pairs, and the start's measurement."""
    records = read_records(context.folder / REPLIES)
    sampled = sum(reply["inserted"].count(0) for record in records for reply in record["replies"])
    metrics = {"rollout/tokens": float(sampled)} if records else {}
    if held_out is None:
        return metrics
    # As the reference was measured, and as the model will be once it is wrapped.
    with trainer.accelerator.autocast():
        return metrics | held_out.measure(trainer.model_wrapped, 0)
