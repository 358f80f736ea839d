"""Run a stage that averages checkpoints: `run_stage`."""

from transformers import AutoModelForCausalLM

from trainer.average.weights import average_weights, check_alike
from trainer.checkpoints import load_tokenizer, save_checkpoint
from trainer.context import StageContext
from trainer.recipe.average import Average
from trainer.run import checkpoint_folder


def run_stage(context: StageContext) -> None:
    """Average the stage's checkpoints into `context.checkpoint`.

    Raises:
        ValueError: they are not of one shape, or have different tokenizers.
    """
    stage = context.stage
    assert isinstance(stage, Average)
    field = f"stages.{stage.name}.checkpoints"
    folders = [checkpoint_folder(context.recipe, place, field, context.run) for place in stage.checkpoints]
    check_alike(folders, field)
    model = AutoModelForCausalLM.from_pretrained(context.start, dtype="auto")
    model.load_state_dict(average_weights(folders, stage.weights or [1.0] * len(folders)))
    save_checkpoint(model, load_tokenizer(context.start), context.checkpoint)
