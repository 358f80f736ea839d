"""Which tokens of a batch of rollouts train."""

from torch import Tensor


def loss_mask(reply: Tensor, inserted: Tensor, truncated: Tensor, mask_truncated: bool) -> Tensor:
    """Tokens that the policy sampled, in rollouts that count; boolean [rows, tokens].

    reply: tokens of the reply, and not of the prompt or padding, [rows, tokens].
    inserted: tokens of the reply that were put there, as an early-stop text is, [rows, tokens]: the policy
    did not sample them, so they have no ratio.
    truncated: rollouts that ran into their token limit, [rows].
    mask_truncated: leave these out, DAPO's overlong filtering (section 3.4).
    """
    mask = reply & ~inserted
    return mask & ~truncated.unsqueeze(1) if mask_truncated else mask
