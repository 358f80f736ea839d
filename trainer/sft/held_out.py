"""Held-out measurement during SFT: one forward pass over reference replies, without generation.

A greedy reply equals its reference exactly when every trained token is the model's first choice given those
before it. References are deterministic where programs wrote them (thinkmath), so this is accuracy there; for
traces that could have been written otherwise it is a lower bound, and the loss says more.
"""

import itertools
import random
from collections.abc import Sequence

import torch
from accelerate.utils import send_to_device
from torch import nn

from evals.problems import thinkmath
from serve.formats import ThinkingFormat
from trainer.examples import Example
from trainer.recipe.stages import SFTStage
from trainer.rows.batch import make_batch
from trainer.rows.conversation import plain_conversation
from trainer.rows.replies import ReplyWriter
from trainer.rows.row import Row
from trainer.sft.trainer import as_inputs, token_losses
from trainer.sources import open_sources
from trainer.sources.thinkmath import response_to

SEED = 1


def held_out_examples(stage: SFTStage) -> list[Example]:
    """The stage's `held_out` sources' first examples, else thinkmath's where the stage trains on it.

    Raises ValueError if there are none with a worked reply.
    """
    if stage.held_out:
        stream = open_sources(stage.held_out, SEED)
        wanted = stage.held_out_problems
        count = wanted if stream.size is None else min(wanted, stream.size)
        examples = [stream.at(index) for index in range(count)]
    elif any(source.kind == "thinkmath" for source in stage.data):
        items = itertools.islice(thinkmath.stream("test", SEED), stage.held_out_problems)
        examples = [Example(item.problem, item.trace, response_to(item.problem.answer)) for item in items]
    else:
        examples = []
    worked = [example for example in examples if None not in (example.thinking, example.response)]
    if not worked:
        raise ValueError(
            f"{stage.name}.evaluate_every: {stage.evaluate_every} is wrong because there are no held-out "
            "examples with worked replies; give held_out, or 0"
        )
    return worked


class HeldOut:
    """Reference replies in three ways: thinking, cut at a random place, and without thinking."""

    def __init__(self, examples: Sequence[Example], form: ThinkingFormat, batch_tokens: int) -> None:
        writer, rng = ReplyWriter(form), random.Random(SEED)
        self._rows = [_row(writer, rng, example) for example in examples]
        self._rows.sort(key=lambda row: len(row.ids))
        self._batch_tokens = batch_tokens

    @torch.no_grad()
    def measure(self, model: nn.Module, vocabulary: int, device: torch.device) -> dict[str, float]:
        """Shares of exact greedy replies, `eval/think`, `eval/cut`, `eval/no_think`; `eval/loss` of thinking.

        The loss is in nats per token.
        """
        was_training = model.training
        model.eval()
        exact: dict[str, list[bool]] = {"think": [], "cut": [], "no_think": []}
        lost, trained = 0.0, 0
        for rows in self._batches():
            batch = make_batch([[row] for row in rows], pad=0)
            inputs = send_to_device(as_inputs(batch), device)
            found, first_choice = token_losses(model, inputs, vocabulary)
            right = first_choice.cpu() | (batch.weights[:, 1:] == 0)
            losses = found.float().cpu()
            for place, row in enumerate(rows):
                kinds = [row.kind, *(branch.kind for branch in row.branches)]
                for kind, (begin, end) in zip(kinds, row.segments(), strict=True):
                    # Token i is predicted at place i - 1.
                    exact[kind].append(bool(right[place, max(0, begin - 1) : end - 1].all()))
                end = row.segments()[0][1]
                lost += float(losses[place, row.prompt - 1 : end - 1].sum())
                trained += end - row.prompt
        model.train(was_training)
        shares = {f"eval/{kind}": sum(found) / len(found) for kind, found in exact.items() if found}
        return {**shares, "eval/loss": lost / trained}

    def _batches(self) -> list[list[Row]]:
        batches: list[list[Row]] = [[]]
        for row in self._rows:
            if batches[-1] and len(row.ids) * (len(batches[-1]) + 1) > self._batch_tokens:
                batches.append([])
            batches[-1].append(row)
        return batches


def _row(writer: ReplyWriter, rng: random.Random, example: Example) -> Row:
    conversation = plain_conversation(example)
    row = writer.think_row(conversation, example)
    begin, end = writer.thinking_span(row)
    if end - begin > 1:
        writer.add_cut(row, example, rng.randint(1, end - begin - 1))
    writer.add_no_think(row, conversation, example)
    return row
