"""What pairs log: sums over pairs and tokens, which micro-batches and processes add up."""

import torch
from torch import Tensor

from trainer.objectives.preference import reference_kl, reply_reward
from trainer.preference.batch import Compared
from trainer.recipe.preference import PreferenceObjective

NAMES = (
    "pairs",
    "chosen",
    "rejected",
    "accuracy",
    "win_rate",
    "logprob/chosen",
    "logprob/rejected",
    "tokens/chosen",
    "tokens/rejected",
    "entropy",
    "kl",
)


@torch.no_grad()
def pair_sums(compared: Compared, settings: PreferenceObjective) -> Tensor:
    """The sums of `NAMES` over a batch's pairs, float64."""
    counts = (compared.weights > 0).double()
    replies = (compared.chosen, compared.rejected)
    chosen, rejected = (reply_reward(each, settings) for each in replies)
    ratios = [each.log_ratio() for each in replies]
    entropies = compared.entropies.chunk(2)
    per_pair = [
        torch.ones_like(counts),
        chosen,
        rejected,
        _above(chosen, rejected),
        _above(*ratios),
        *(each.total() for each in replies),
        *(each.mask.sum(dim=1) for each in replies),
        sum(
            torch.where(each.mask, entropy, 0.0).sum(dim=1)
            for each, entropy in zip(replies, entropies, strict=True)
        ),
        sum(reference_kl(each).sum(dim=1) for each in replies),
    ]
    return torch.stack([(counts * values).sum() for values in per_pair])


def pair_metrics(sums: Tensor, has_reference: bool) -> dict[str, float]:
    """Means over pairs, and over tokens those of entropy and kl, by the names that runs log.

    `reward/` is what the loss takes for a reply's reward, `reward/accuracy` the share of pairs whose chosen
    reply has the higher one; `logprob/` and `length/` are of whole replies, in nats and tokens. Where the
    reference is known: `win_rate`, the share of pairs that the policy tells apart better than the reference
    does, ties counted half, and `kl`, an estimate of KL(reference || policy) in nats per token.
    """
    found = dict(zip(NAMES, sums.tolist(), strict=True))
    pairs, tokens = found["pairs"], found["tokens/chosen"] + found["tokens/rejected"]
    metrics = {
        "reward/chosen": found["chosen"] / pairs,
        "reward/rejected": found["rejected"] / pairs,
        "reward/margin": (found["chosen"] - found["rejected"]) / pairs,
        "reward/accuracy": found["accuracy"] / pairs,
        "logprob/chosen": found["logprob/chosen"] / pairs,
        "logprob/rejected": found["logprob/rejected"] / pairs,
        "length/chosen": found["tokens/chosen"] / pairs,
        "length/rejected": found["tokens/rejected"] / pairs,
        "entropy": found["entropy"] / tokens,
    }
    if has_reference:
        metrics |= {"win_rate": found["win_rate"] / pairs, "kl": found["kl"] / tokens}
    return metrics


def _above(one: Tensor, other: Tensor) -> Tensor:
    """1 where `one` is above, a half where they are equal up to rounding, else 0."""
    return torch.where((one - other).abs() <= 1e-4, 0.5, (one > other).double())
