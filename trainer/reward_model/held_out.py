"""How often the better reply of a pair that was not trained on scores higher."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, pstdev

import torch
from torch import nn

from evals.stats import clustered_proportion
from trainer.preference.batch import pair_inputs
from trainer.preference.pairs import Pair
from trainer.reward_model.trainer import pair_scores


@torch.no_grad()
def measure(
    model: nn.Module, pairs: Sequence[Pair], pad: int, tokens: int, device: torch.device
) -> dict[str, float]:
    """Accuracy on held-out pairs, and mean and deviation of their replies' scores.

    `eval/pairs` is the share of pairs whose chosen reply scores higher, ties counted half, with the limits
    `low` and `high` of its 95 % interval, in which the pairs of a prompt are a cluster. `eval/shorter` is
    what preferring the shorter reply would get. tokens: most padded ones of a forward pass. Every process
    measures all.
    """
    training = model.training
    model.eval()
    scores: list[tuple[float, float]] = []
    for pack in _packs(pairs, tokens):
        inputs = pair_inputs(pack, None, pad)
        chosen, rejected = pair_scores(model, inputs["ids"].to(device))
        scores += zip(chosen.tolist(), rejected.tolist(), strict=True)
    model.train(training)
    right = defaultdict(list)
    for pair, (better, worse) in zip(pairs, scores, strict=True):
        right[str(pair.chosen.ids[: pair.chosen.prompt])].append(_half_of_ties(better - worse))
    shorter = [_half_of_ties(len(pair.rejected.ids) - len(pair.chosen.ids)) for pair in pairs]
    accuracy = clustered_proportion(right)
    assert accuracy is not None
    every = [score for both in scores for score in both]
    return {
        "eval/pairs": accuracy.mean,
        "eval/pairs/low": accuracy.low,
        "eval/pairs/high": accuracy.high,
        "eval/shorter": fmean(shorter),
        "score/mean": fmean(every),
        "score/deviation": pstdev(every),
    }


def _half_of_ties(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)


def _packs(pairs: Sequence[Pair], tokens: int) -> list[list[Pair]]:
    """Runs of pairs, in their order, of at most `tokens` with padding; a longer pair stands alone."""
    packs: list[list[Pair]] = []
    longest = 0
    for pair in pairs:
        longest = max(longest, pair.length)
        if packs and 2 * longest * (len(packs[-1]) + 1) <= tokens:
            packs[-1].append(pair)
        else:
            packs.append([pair])
            longest = pair.length
    return packs
