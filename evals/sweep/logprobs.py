"""From a reply's log probabilities to what a record keeps of them."""

from clients import Choice, TokenLogprob
from evals.records import TokenLogprobs
from evals.stats import token_entropy

DIGITS = 5
"""Decimals kept: 1e-5 nats is far below what batching changes, and stores stay small."""


def token_logprobs(choice: Choice, top: int | None, inserted: range) -> TokenLogprobs | None:
    """The log probabilities of a choice, aligned with its token_ids where the server gives both.

    top: how many alternatives were asked; None gives None. inserted: indices of the early-stop text, whose
    tokens nobody sampled. Raises RuntimeError when there are none though they were asked, or not one for each
    token.
    """
    if top is None:
        return None
    tokens = choice.logprobs
    if tokens is None:
        raise RuntimeError("the server sent no log probabilities; give --logprobs off")
    if choice.token_ids is not None and len(tokens) != len(choice.token_ids):
        raise RuntimeError(
            f"the server sent {len(tokens)} log probabilities for {len(choice.token_ids)} tokens; "
            "give --logprobs off"
        )
    kept = [None if index in inserted else token for index, token in enumerate(tokens)]
    spread = [None if token is None or top == 0 else _entropy(token, top) for token in kept]
    return TokenLogprobs(
        pieces=[token.token for token in tokens],
        chosen=[None if token is None else _rounded(token.logprob) for token in kept],
        top=top,
        entropy=None if top == 0 else [None if pair is None else _rounded(pair[0]) for pair in spread],
        rest=None if top == 0 else [None if pair is None else _rounded(pair[1]) for pair in spread],
    )


def _entropy(token: TokenLogprob, top: int) -> tuple[float, float] | None:
    """Entropy in nats and the probability of what is not among the `top`; None where nothing is known."""
    return token_entropy([value for _, value in token.top[:top]]) if token.top else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS) + 0.0
