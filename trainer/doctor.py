"""What the stages of a recipe will train on, printed token by token, and what is wrong with it."""

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from serve.formats import ThinkingFormat, load_format
from trainer.checkpoints import load_tokenizer
from trainer.preference.doctor import examine_pairs
from trainer.recipe import Recipe
from trainer.recipe.average import Average
from trainer.recipe.preference import PairStage
from trainer.recipe.stages import AnyStage, ColdStart, Distill, Fusion, RLStage
from trainer.rl.prompts import draw_prompt
from trainer.rollouts.transformers_backend import TransformersBackend
from trainer.rollouts.types import Rollout, RolloutRequest, Sampling
from trainer.rows.doctor import Finding, check_left_out, check_row, check_tags, check_template
from trainer.rows.draw import RowSource
from trainer.rows.rejection import read_kept
from trainer.rows.row import Row
from trainer.rows.show import Run, show_row, show_run
from trainer.run import first_checkpoint
from trainer.sources import open_sources

CHECKED_ROWS = 200
"""Rows of a stage that are diagnosed, whether they are shown or not."""
SHOWN_BUDGET = 16
"""Thinking tokens of the rollout shown of a stage without budgets."""


def examine(recipe: Recipe, run: Path, names: list[str], rows: int, colours: bool) -> Iterator[str | Finding]:
    """Lines to print and findings, stage by stage.

    run: the run's folder, whose checkpoints and sampled replies are used where there are any. names: stages,
    [] is all. rows: how many of each stage are shown.
    """
    with _first_checkpoint(recipe, run) as first:
        tokenizer = load_tokenizer(first)
        tags = check_tags(tokenizer, first)
        yield from tags
        if tags:
            return
        form = load_format(tokenizer, first)
        yield f"thinking stands between {form.open} and {form.close}; a cut inserts {form.stop_text!r}"
        yield from check_template(form, first)
        for stage in recipe.stages:
            if names and stage.name not in names:
                continue
            yield f"\n== {stage.name} ({stage.kind})"
            seed = recipe.seed_of(stage)
            if isinstance(stage, ColdStart | Fusion):
                yield from _examine_rows(stage, seed, form, run / stage.name, rows, colours)
            elif isinstance(stage, Average):
                yield f"trains on nothing: it is the average of {', '.join(stage.checkpoints)}"
            elif isinstance(stage, PairStage):
                yield from examine_pairs(stage, seed, form, first, run / stage.name, rows, colours)
            else:
                yield from _show_rollouts(stage, seed, form, first, rows, colours)


def _examine_rows(
    stage: ColdStart | Fusion, seed: int, form: ThinkingFormat, folder: Path, shown: int, colours: bool
) -> Iterator[str | Finding]:
    thinking = None
    if isinstance(stage, Fusion) and stage.rejection is not None:
        sampled = folder / "rejection"
        if sampled.exists():
            thinking = read_kept(sampled, seed)
        else:
            yield "(its thinking will be sampled from its first checkpoint; shown is the data's own)"
    source = RowSource(stage, seed, form, open_sources(stage.data, seed), thinking)
    reasons = []
    for index in range(max(shown, CHECKED_ROWS)):
        row = source.at(index)
        if not isinstance(row, Row):
            reasons.append(row)
            continue
        if index < shown:
            yield f"-- row {index}: {show_row(row, form, colours)}"
        yield from check_row(row, index, source.writer)
    yield from check_left_out(reasons, max(shown, CHECKED_ROWS))


def _show_rollouts(
    stage: AnyStage, seed: int, form: ThinkingFormat, checkpoint: Path, shown: int, colours: bool
) -> Iterator[str]:
    """Prompts, and of each a rollout that is cut: its inserted tokens are not trained."""
    assert isinstance(stage, RLStage | Distill)
    examples = open_sources(stage.data, seed)
    budget = SHOWN_BUDGET
    if isinstance(stage, RLStage) and stage.budget.mode != "off":
        budget = (stage.budget.low + stage.budget.high) // 2
    requests = []
    for index in range(shown):
        rng = random.Random(f"{seed}-{stage.name}-{index}")
        prompt = draw_prompt(form, stage.modes, rng, examples.at(index), examples.at(index + shown), True)
        room = budget + len(form.stop_ids) + stage.rollouts.answer_tokens
        requests.append(RolloutRequest(prompt, room, index, budget, stage.rollouts.answer_tokens))
    backend = TransformersBackend(checkpoint, dtype=stage.rollouts.dtype, tolerance=1.0)
    replies = backend.generate(requests, Sampling(stage.rollouts.temperature, stage.rollouts.top_p))
    backend.close()
    for index, reply in enumerate(replies):
        yield f"-- rollout {index} with a budget of {budget}: thinking ended by {reply.stop_cause}"
        yield from ("  " + show_run(run, form, colours) for run in rollout_runs(reply))


def rollout_runs(reply: Rollout) -> list[Run]:
    """The prompt and the reply of a rollout in runs of tokens: trained where the policy sampled them."""
    marks = reply.inserted
    edges = [i for i in range(len(marks)) if i == 0 or marks[i] != marks[i - 1]] + [len(marks)]
    runs = [Run("prompt", 0.0, list(reply.request.prompt_ids))]
    for begin, end in pairwise(edges):
        state, weight = ("inserted", 0.0) if marks[begin] else ("trained", 1.0)
        runs.append(Run(state, weight, list(reply.token_ids[begin:end])))
    return runs


@contextmanager
def _first_checkpoint(recipe: Recipe, run: Path) -> Iterator[Path]:
    """The checkpoint a run begins with, which is made for the time being where there is no run yet."""
    if run.exists():
        yield first_checkpoint(recipe, run)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield first_checkpoint(recipe, Path(folder))
