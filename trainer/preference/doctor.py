"""The pairs of a stage token by token, and what is wrong with them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from serve.formats import ThinkingFormat
from trainer.preference.gather import REPLIES
from trainer.preference.pairs import Pair
from trainer.preference.sample import sample_replies
from trainer.preference.source import PairSet, given_pairs, prompt_stream, sampled_pairs
from trainer.recipe.preference import PairStage
from trainer.rollouts.transformers_backend import TransformersBackend
from trainer.rows.doctor import Finding, check_left_out, check_row
from trainer.rows.replies import ReplyWriter
from trainer.rows.row import Row
from trainer.rows.show import show_row

CHECKED_PAIRS = 200
TRIED_PROBLEMS = 8
"""Problems that the first checkpoint answers where a run has sampled none yet."""


def examine_pairs(
    stage: PairStage,
    seed: int,
    form: ThinkingFormat,
    checkpoint: Path,
    folder: Path,
    shown: int,
    colours: bool,
) -> Iterator[str | Finding]:
    """Lines to print, and findings. folder: the stage's, whose sampled replies are used where it has any."""
    replies = folder / REPLIES
    if stage.pairs.path is not None:
        pairs = given_pairs(stage, form)
    elif replies.exists():
        pairs = sampled_pairs(stage, seed, replies)
    else:
        yield f"(pairs of the model's replies to {TRIED_PROBLEMS} problems; a run samples its own first)"
        pairs = _try(stage, seed, form, checkpoint)
    if not pairs.training:
        yield f"(no pairs: {dict(pairs.left_out)})"
    writer = ReplyWriter(form)
    for number, pair in enumerate(pairs.training[: max(shown, CHECKED_PAIRS)]):
        if number < shown:
            yield f"-- pair {number}, weight {pair.weight:g}"
            yield f"chosen: {show_row(pair.chosen, form, colours)}"
            yield f"rejected: {show_row(pair.rejected, form, colours)}"
        for row in _examples(pair):
            yield from check_row(row, number, writer)
    reasons = [reason for reason, count in pairs.left_out.items() for _ in range(count)]
    yield from check_left_out([reason for reason in reasons if "longer" in reason], len(pairs.training))


def _examples(pair: Pair) -> list[Row]:
    """The rows that are to be like a served reply: given ones, and the chosen of those that were sampled."""
    if pair.chosen.conversation is not None:
        return [pair.chosen, pair.rejected]
    # Without thinking, a sampled row does not say which switch asked for none.
    return [pair.chosen] if pair.chosen.kind == "think" else []


def _try(stage: PairStage, seed: int, form: ThinkingFormat, checkpoint: Path) -> PairSet:
    settings = stage.pairs
    assert settings.rollouts is not None
    backend = TransformersBackend(checkpoint, dtype=settings.rollouts.dtype, tolerance=1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / REPLIES
        sample_replies(path, prompt_stream(stage, seed, form), TRIED_PROBLEMS, settings, backend)
        backend.close()
        alone = stage.model_copy(update={"pairs": settings.model_copy(update={"held_out": 0})})
        return sampled_pairs(alone, seed, path)
