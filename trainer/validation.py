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
from trainer.fusion import (
    ANYTIME_FAMILIES,
    Row,
    cut_row,
    draw_cut,
    no_think_row,
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
    labels: list[list[str]] = []
    for item in items:
        level, family = item.problem.level, item.problem.subject
        kind = "anytime" if family in ANYTIME_FAMILIES else "chains"
        open_prompt = prompt_ids(tokenizer, plain(item))
        block = tokenizer.encode("<think>\n\n</think>\n\n")
        rows.append(think_row(tokenizer, open_prompt, item))
        labels.append(["think", f"think/{family}", f"think/level_{level}"])
        rows.append(no_think_row(tokenizer, open_prompt + block, item, soft=False, answer_weight=1.0))
        labels.append(["no_think", f"no_think/level_{level}"])
        rows.append(cut_row(tokenizer, open_prompt, item, draw_cut(rng, tokenizer, item), 1.0))
        labels.append(["cut", f"cut/{kind}"])
    results: defaultdict[str, list[bool]] = defaultdict(list)
    for row_labels, right in zip(labels, _exact(model, rows), strict=True):
        for label in row_labels:
            results[label if "/" in label else f"{label}/all"].append(right)
    return {label: sum(values) / len(values) for label, values in sorted(results.items())}


@torch.no_grad()
def _exact(model: Qwen3ForCausalLM, rows: list[Row]) -> list[bool]:
    """Whether the model's first choice is right at every trained token, in the order of `rows`."""
    model.eval()
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
    exact = [False] * len(rows)
    for indices in (order[start : start + BATCH_ROWS] for start in range(0, len(order), BATCH_ROWS)):
        length = max(len(rows[index].ids) for index in indices)
        ids = torch.zeros(len(indices), length, dtype=torch.long)
        trained = torch.zeros(len(indices), length, dtype=torch.bool)
        for place, index in enumerate(indices):
            ids[place, : len(rows[index].ids)] = torch.tensor(rows[index].ids)
            trained[place, : len(rows[index].ids)] = torch.tensor(rows[index].weights) > 0
        guesses = model(input_ids=ids, use_cache=False).logits[:, :-1].argmax(-1)
        right = (guesses == ids[:, 1:]) | ~trained[:, 1:]
        for place, index in enumerate(indices):
            exact[index] = bool(right[place].all())
    model.train()
    return exact
