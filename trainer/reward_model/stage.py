"""Run a reward_model stage: pairs, sampled and judged or given, then training; resumable throughout.

Its folder holds what a preference stage's does: `replies.jsonl`, `pairs.jsonl` and, until it ends, `state/`.
"""

import sys

from trl import RewardConfig

from trainer.checkpoints import load_tokenizer
from trainer.context import StageContext
from trainer.preference.gather import backend_on_demand, stage_pairs
from trainer.preference.plan import PairPlan
from trainer.processes import join_processes
from trainer.progress import Progress
from trainer.recipe.reward_model import RewardModelStage
from trainer.reward_model.held_out import measure
from trainer.reward_model.model import load_scored
from trainer.reward_model.noise import turn_around
from trainer.reward_model.trainer import ScoreTrainer
from trainer.rewards.scorer import SETTINGS
from trainer.sft.sealed import check_loss, leave_checkpoint, shared_arguments
from trainer.sft.state import drop_halves, newest_whole, steps_done


def run_stage(context: StageContext) -> None:
    """Train the stage, going on from what its folder holds, and leave `context.checkpoint`.

    Raises:
        ValueError: there are no pairs, or what is given as such is wrong; or the loss is no number.
    """
    processes = join_processes()
    stage = context.stage
    assert isinstance(stage, RewardModelStage)
    with backend_on_demand(context, stage) as backend:
        pairs = stage_pairs(context, stage, backend)
    training = turn_around(pairs.training, stage.noise, context.seed)
    turned = sum(one is not other for one, other in zip(training, pairs.training, strict=True))
    processes.print(f"{stage.name}: {turned} of the training pairs are turned around", file=sys.stderr)
    state = context.folder / "state"
    tokenizer = load_tokenizer(context.start)
    model = load_scored(context.start, tokenizer, context.recipe.model, context.seed)
    plan = PairPlan(training, stage, context.seed, processes.num_processes)
    arguments = RewardConfig(
        **shared_arguments(context, stage.optimizer, plan.steps, state),
        per_device_train_batch_size=1,
        train_sampling_strategy="sequential",
        max_length=None,
        # The recipe's, where adapters have some.
        disable_dropout=False,
        dataloader_num_workers=0 if processes.device.type == "cpu" else 1,
    )
    drop_halves(state)
    resumed = newest_whole(state)
    with Progress(context, plan.steps, steps_done(resumed)) as progress:

        def measured() -> dict[str, float]:
            return measure(
                trainer.model_wrapped,
                pairs.held_out,
                tokenizer.pad_token_id,
                stage.micro_batch_tokens,
                trainer.accelerator.device,
            )

        def on_step(step: int, metrics: dict[str, float], tokens: int) -> None:
            check_loss(stage.name, step, metrics)
            progress.log(step, metrics, tokens)
            every = stage.evaluate_every
            if every and step % every == 0 and step < plan.steps:
                progress.log(step, measured())

        trainer = ScoreTrainer(model, tokenizer, training, stage, plan, arguments, on_step)
        trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
        last = measured()
        progress.log(plan.steps, last)
    trainer.accelerator.unwrap_model(trainer.model).config.update(
        {SETTINGS: {"mean": last["score/mean"], "deviation": last["score/deviation"] or 1.0}}
    )
    leave_checkpoint(trainer, tokenizer, context)
