"""A stage's pairs, whether given or of replies that the model it begins with is asked for first."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

from accelerate import PartialState

from serve.formats import load_format
from trainer.checkpoints import load_tokenizer
from trainer.context import StageContext
from trainer.preference.sample import sample_replies
from trainer.preference.source import (
    PairSet,
    check_pairs,
    given_pairs,
    problems_asked,
    prompt_stream,
    sampled_pairs,
    write_pairs,
)
from trainer.progress.records import read_records
from trainer.recipe.preference import PairStage
from trainer.rollouts import open_backend
from trainer.rollouts.types import RolloutBackend

REPLIES, PAIRS = "replies.jsonl", "pairs.jsonl"
"""Files in the stage's folder: sampled replies, and their pairs, to be read."""

OpenBackend = Callable[[], RolloutBackend]


def stage_pairs(context: StageContext, stage: PairStage, backend: OpenBackend) -> PairSet:
    """The stage's pairs; replies that are missing in its folder are sampled first. Every process calls this.

    Raises ValueError if there are none, or what is given as such is wrong.
    """
    form = load_format(load_tokenizer(context.start), context.start)
    if stage.pairs.path is not None:
        return given_pairs(stage, form)
    path = context.folder / REPLIES
    prompts = prompt_stream(stage, context.seed, form)
    wanted = problems_asked(stage, prompts.examples)
    if len(read_records(path)) < wanted:
        sample_replies(path, prompts, wanted, stage.pairs, backend())
    pairs = check_pairs(stage, sampled_pairs(stage, context.seed, path))
    if PartialState().is_main_process:
        write_pairs(context.folder / PAIRS, pairs, form)
    return pairs


@contextmanager
def backend_on_demand(context: StageContext, stage: PairStage) -> Iterator[OpenBackend]:
    """Opens the stage's rollout backend, with the weights it begins with, when it is first asked for."""
    with ExitStack() as opened:

        @cache
        def backend() -> RolloutBackend:
            assert stage.pairs.rollouts is not None
            made = open_backend(stage.pairs.rollouts, context.start, context.seed)
            opened.callback(made.close)
            return made

        yield backend
