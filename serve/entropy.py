"""How uncertain a model was at each token of its thinking: entropies and margins, gathered as a reply grows.

The entropy of a token is that of the distribution over the whole vocabulary that it was drawn from, in nats.
The margin is the probability of the most likely token less that of the second.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = 6
"""Decimals told: far below what batching changes, and more than zeros for tokens that are nearly certain."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One token's. entropy: exact, or a lower bound; upper: an upper bound, in nats.

    residual: probability of the tokens that were not looked at; 0 where none is left out.
    """

    entropy: float
    upper: float
    margin: float
    residual: float


class Measured(dict[int, Any]):
    """A token's log-probabilities as vLLM tells them, by token id, and the measure of its distribution."""

    def __init__(self, entries: dict[int, Any], measure: Measure) -> None:
        super().__init__(entries)
        self.measure = measure


@dataclass(frozen=True, slots=True)
class EntropyReport:
    """The tokens of a choice's thinking in order, with null where a token was inserted, not generated.

    values: entropies in nats, of the distribution that the server's --logprobs-mode names; if not exact,
        lower bounds. upper, residual: upper bounds, and the probability that the bounds leave open; null if
        exact. margin: probability of the most likely token less that of the second.
    tokens: how many were generated. texts: of all of them; null where thinking is hidden.
    """

    values: list[float | None]
    margin: list[float | None]
    exact: bool
    upper: list[float | None] | None
    residual: list[float | None] | None
    tokens: int
    texts: list[str] | None


class EntropyTrace:
    """The measures of one choice's thinking so far. exact: no token of the vocabulary is left out."""

    def __init__(self, *, exact: bool) -> None:
        self.exact = exact
        self._measures: list[Measure | None] = []
        self._texts: list[str] = []
        self._taken = 0

    def add(self, text: str, measure: Measure | None) -> None:
        """Note the next token of the thinking; without a measure if it was inserted."""
        self._texts.append(text)
        self._measures.append(measure)

    def take(self) -> dict[str, list[Any]] | None:
        """What has come since the last call, as a chunk of a stream tells it; None if nothing has."""
        start, self._taken = self._taken, len(self._texts)
        if start == self._taken:
            return None
        told: dict[str, list[Any]] = {
            "tokens": self._texts[start:],
            "entropy": self._column("entropy", start),
            "margin": self._column("margin", start),
        }
        return told if self.exact else {**told, "upper": self._column("upper", start)}

    def report(self) -> EntropyReport:
        return EntropyReport(
            values=self._column("entropy"),
            margin=self._column("margin"),
            exact=self.exact,
            upper=None if self.exact else self._column("upper"),
            residual=None if self.exact else self._column("residual"),
            tokens=sum(measure is not None for measure in self._measures),
            texts=list(self._texts),
        )

    def _column(self, name: str, start: int = 0) -> list[float | None]:
        return [None if m is None else round(getattr(m, name), DIGITS) for m in self._measures[start:]]


def measure(logprobs: NDArray[Any], vocabulary: int) -> list[Measure]:
    """The measures of some tokens from their largest log-probabilities, [tokens, k], largest first.

    vocabulary: how many there are in all. If that is k the entropy `H = -sum_i p_i log p_i` is exact. Else
    the rest r = 1 - sum_i p_i belongs to tokens of at most the least listed probability q, so its part of the
    entropy is at least `-r log min(r, q)`, and at most that of an even spread, `-r log(r / (vocabulary - k))`
    (Cover and Thomas 2006, "Elements of information theory", section 2.6).
    """
    log_p = np.asarray(logprobs, dtype=np.float64)
    p = np.exp(log_p)
    lower = -(p * np.where(p > 0, log_p, 0.0)).sum(axis=1)
    left_out = vocabulary - log_p.shape[1]
    # Where a listed token is impossible, as after top-p, those that are not listed are too.
    open_ended = (p[:, -1] > 0) & (left_out > 0)
    rest = np.where(open_ended, np.clip(1.0 - p.sum(axis=1), 0.0, 1.0), 0.0)
    some = np.where(rest > 0, rest, 1.0)
    upper = lower - rest * np.log(some / max(1, left_out))
    lower = lower - rest * np.log(np.minimum(some, np.where(open_ended, p[:, -1], 1.0)))
    # Nothing is below 0, and rounding of 32-bit log-probabilities does not turn the bounds around.
    lower = np.maximum(lower, 0.0) + 0.0
    upper = np.maximum(lower, upper)
    margin = p[:, 0] - p[:, 1]
    return [Measure(*row) for row in np.stack([lower, upper, margin, rest], axis=1).tolist()]
