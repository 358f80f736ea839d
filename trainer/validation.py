"""Accuracy during training, on held-out problems, by one forward pass over the traces of right replies.

The traces are deterministic, so a greedy reply equals the program's own trace exactly when every trained
token is the model's first choice given those before it: no generation is needed.
"""

import itertools
import random
from collections import defaultdict

import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from evals.problems import thinkmath
from trainer.batch import forward, make_batch
from trainer.fusion import (
    ANYTIME_FAMILIES,
    Row,
    add_cut,
    add_no_think,
    draw_cut,
    plain,
    prompt_ids,
    think_row,
)

SEED = 1
BATCH_ROWS = 50


def validate(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, problems: int) -> dict[str, float]:
    """Shares of exact greedy replies, keyed by `mode/part`.

    Cut replies are split into chains and anytime families, each cut at a random point drawn as in training.
    """
    items = list(itertools.islice(thinkmath.stream("test", SEED), problems))
    rng = random.Random(SEED)
    rows: list[Row] = []
    labels: list[list[list[str]]] = []
    for item in items:
        level, family = item.problem.level, item.problem.subject
        kind = "anytime" if family in ANYTIME_FAMILIES else "chains"
        prompt = prompt_ids(tokenizer, plain(item))
        row = think_row(tokenizer, prompt, item)
        add_no_think(row, tokenizer, len(prompt), item, answer_weight=1.0)
        add_cut(row, tokenizer, len(prompt), item, draw_cut(rng, tokenizer, item), answer_weight=1.0)
        rows.append(row)
        labels.append(
            [
                ["think/all", f"think/{family}", f"think/level_{level}"],
                ["no_think/all", f"no_think/level_{level}"],
                ["cut/all", f"cut/{kind}"],
            ]
        )
    results: defaultdict[str, list[bool]] = defaultdict(list)
    for reply_labels, exact in zip(labels, _exact(model, rows), strict=True):
        for names, right in zip(reply_labels, exact, strict=True):
            for name in names:
                results[name].append(right)
    return {name: sum(values) / len(values) for name, values in sorted(results.items())}


@torch.no_grad()
def _exact(model: Qwen3ForCausalLM, rows: list[Row]) -> list[list[bool]]:
    """For trunk and branches of each row, whether the first choice is right at every trained token."""
    model.eval()
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
    exact: list[list[bool]] = [[] for _ in rows]
    for start in range(0, len(order), BATCH_ROWS):
        indices = order[start : start + BATCH_ROWS]
        batch = make_batch([rows[index] for index in indices], pad=0)
        guesses = forward(model, batch)[:, :-1].argmax(-1)
        right = torch.ones_like(batch.ids, dtype=torch.bool)
        right[:, 1:] = (guesses == batch.ids[:, 1:]) | (batch.weights[:, 1:] == 0)
        for place, index in enumerate(indices):
            bounds = [0, *(branch.start for branch in rows[index].branches), right.shape[1]]
            exact[index] = [bool(right[place, a:b].all()) for a, b in itertools.pairwise(bounds)]
    model.train()
    return exact
