"""Log-probabilities of sampled tokens under a model."""

from dataclasses import dataclass

from torch import Tensor, nn

from trainer.objectives import entropy
from trainer.rl.batches import MicroBatch


@dataclass(frozen=True, slots=True)
class TokenOutputs:
    """What a model says of a batch's trained tokens, 0 elsewhere; None is what was not asked for.

    logprobs, entropies (nats): [rows, W]. hidden: the last layer's output before each token, which the
    next-token scores are made of, [rows, W, width].
    """

    logprobs: Tensor
    entropies: Tensor | None = None
    hidden: Tensor | None = None


def token_outputs(
    model: nn.Module,
    batch: MicroBatch,
    temperature: float,
    with_entropy: bool = False,
    with_hidden: bool = False,
) -> TokenOutputs:
    """Run the model on a batch.

    Log-probabilities and entropies are of the distribution at `temperature`, before any top-p. The
    vocabulary's softmax is taken at trained tokens only. Padding on the right needs no attention mask, as no
    earlier token sees it.
    """
    width = batch.targets.shape[1]
    output = model(
        input_ids=batch.inputs, use_cache=False, logits_to_keep=width, output_hidden_states=with_hidden
    )
    chosen = output.logits[batch.mask].float() / temperature
    total = chosen.logsumexp(-1, keepdim=True)
    logprobs = (chosen.gather(-1, batch.targets[batch.mask].unsqueeze(-1)) - total).squeeze(-1)
    return TokenOutputs(
        _spread(logprobs, batch.mask),
        _spread(entropy(chosen), batch.mask) if with_entropy else None,
        output.hidden_states[-1][:, -width:] if with_hidden else None,
    )


def token_logprobs(
    model: nn.Module, batch: MicroBatch, temperature: float, with_entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-probability, and `with_entropy` entropy, at each trained token; see `TokenOutputs`."""
    outputs = token_outputs(model, batch, temperature, with_entropy)
    return outputs.logprobs, outputs.entropies


def _spread(values: Tensor, mask: Tensor) -> Tensor:
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
