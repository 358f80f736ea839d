"""Log-probabilities of sampled tokens under a model."""

from torch import Tensor, nn

from trainer.objectives import entropy
from trainer.rl.batches import MicroBatch


def token_logprobs(
    model: nn.Module, batch: MicroBatch, temperature: float, with_entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-probability, and `with_entropy` entropy (nats), at each trained token, [rows, W], 0 elsewhere.

    Both are of the distribution at `temperature`, before any top-p. The vocabulary's softmax is taken at
    trained tokens only. Padding on the right needs no attention mask, as no earlier token sees it.
    """
    width = batch.targets.shape[1]
    logits = model(input_ids=batch.inputs, use_cache=False, logits_to_keep=width).logits
    chosen = logits[batch.mask].float() / temperature
    total = chosen.logsumexp(-1, keepdim=True)
    logprobs = (chosen.gather(-1, batch.targets[batch.mask].unsqueeze(-1)) - total).squeeze(-1)
    entropies = _spread(entropy(chosen), batch.mask) if with_entropy else None
    return _spread(logprobs, batch.mask), entropies


def _spread(values: Tensor, mask: Tensor) -> Tensor:
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
