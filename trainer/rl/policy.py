"""Log-probabilities of sampled tokens under a model."""

import torch
from torch import Tensor, nn

from trainer.rl.batches import MicroBatch


def token_logprobs(
    model: nn.Module, batch: MicroBatch, temperature: float, entropy_gradient: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy (nats) at each trained token, [rows, W], 0 elsewhere.

    Both are of the distribution at `temperature`, before any top-p. The vocabulary's softmax is taken at
    trained tokens only. Padding on the right needs no attention mask, as no earlier token sees it. Entropies
    carry a gradient only with `entropy_gradient`.
    """
    width = batch.targets.shape[1]
    logits = model(input_ids=batch.inputs, use_cache=False, logits_to_keep=width).logits
    chosen = logits[batch.mask].float() / temperature
    total = chosen.logsumexp(-1, keepdim=True)
    logprobs = (chosen.gather(-1, batch.targets[batch.mask].unsqueeze(-1)) - total).squeeze(-1)
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        entropies = total.squeeze(-1) - ((chosen - total).exp() * chosen).sum(-1)
    return _spread(logprobs, batch.mask), _spread(entropies, batch.mask)


def _spread(values: Tensor, mask: Tensor) -> Tensor:
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
