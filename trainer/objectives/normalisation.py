"""From per-token losses to one number, exact over micro-batches and processes."""

from typing import Literal, assert_never

from torch import Tensor

Kind = Literal["sequence", "token", "constant", "rollout"]


def normaliser(tokens: Tensor, kind: Kind, max_tokens: int) -> float:
    """What the summed losses of one optimizer step are divided by.

    tokens: how many tokens train (the loss mask's sum) in each rollout of the optimizer step, [rollouts]: of
    all its micro-batches and all processes. It may be 0 of a masked rollout, which still counts as one.
    max_tokens: the longest reply there can be, in tokens.

    The result is a sum over rollouts, except that it is 1 where there is nothing to sum.

    sequence: rollouts. Each weighs the same, whatever its length: GRPO, DeepSeekMath eq. 3.
    token: tokens that train. Each weighs the same: DAPO, eq. 8.
    constant: rollouts times max_tokens, known before sampling: Dr. GRPO, section 3.2 and listing 1.
    rollout: rollouts, whose tokens are summed: Kimi k1.5, eq. 3; constant without its constant.
    """
    match kind:
        case "sequence" | "rollout":
            total = tokens.numel()
        case "token":
            total = int(tokens.sum())
        case "constant":
            total = tokens.numel() * max_tokens
        case _:
            assert_never(kind)
    return float(max(total, 1))


def total(values: Tensor, mask: Tensor, kind: Kind) -> Tensor:
    """Sum of per-token values before the division by `normaliser`; [rows, tokens] to a scalar.

    sequence divides each row by its number of tokens first. Sums of parts of a batch add up to the whole's.
    """
    summed = (values * mask).sum(dim=1)
    if kind == "sequence":
        summed = summed / mask.sum(dim=1).clamp(min=1)
    return summed.sum()
