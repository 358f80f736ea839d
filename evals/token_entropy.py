"""Entropy of the tokens thought within each budget, added up trace by trace as a store is read.

The entropy of a token is that of the distribution it was drawn from, in nats; from the `top` most likely
tokens, with all others as one, it is a lower bound, and the probability of those others tells how loose.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evals.budgets import Budget, as_number
from evals.records import Record

BINS = 2600
WIDTH = 0.005
"""Bins of the histogram of entropies, in nats: up to 13, the logarithm of a vocabulary of 440,000."""
PARTS = 10
FORKING_SHARE = 0.2
"""Forking tokens are the fifth of all thinking tokens with the highest entropy (Wang et al. 2025,
"Beyond the 80/20 rule", arXiv:2506.01939)."""


@dataclass(frozen=True, slots=True)
class TokenEntropy:
    """Of some tokens: mean entropy, mean probability of the tokens not listed, share of forking tokens."""

    tokens: int
    entropy: float
    rest: float | None
    forking_share: float


class _Sums:
    def __init__(self) -> None:
        self.tokens = 0
        self.entropy = self.rest = 0.0
        self.histogram = np.zeros(BINS, dtype=np.int64)

    def add(self, entropy: np.ndarray, rest: np.ndarray) -> None:
        if len(entropy):
            self.tokens += len(entropy)
            self.entropy += float(entropy.sum())
            self.rest += float(rest.sum())
            self.histogram += np.bincount(_bins(entropy), minlength=BINS)

    def merge(self, other: "_Sums") -> None:
        self.tokens += other.tokens
        self.entropy += other.entropy
        self.rest += other.rest
        self.histogram += other.histogram

    def result(self, threshold: int) -> TokenEntropy | None:
        if self.tokens == 0:
            return None
        return TokenEntropy(
            self.tokens,
            self.entropy / self.tokens,
            self.rest / self.tokens,
            float(self.histogram[threshold:].sum()) / self.tokens,
        )


def _bins(entropy: np.ndarray) -> np.ndarray:
    return np.minimum((entropy / WIDTH).astype(np.int64), BINS - 1)


class EntropyTally:
    """Token entropies of a run's thinking, by budget and by place in the trace."""

    def __init__(self, budgets: Sequence[Budget], format: dict[str, Any]) -> None:
        """budgets: those reported. format: the manifest's thinking format, empty where it is unknown."""
        self._format = format
        self._limits = sorted(int(b) for b in budgets if isinstance(b, int) and b > 0)
        self._between = [_Sums() for _ in range(len(self._limits) + 1)]
        self._direct = {budget: _Sums() for budget in budgets}
        self._parts = [_Sums() for _ in range(PARTS)]

    def add(self, record: Record) -> None:
        """Count the thinking tokens of a trace or a direct reply; others have none of their own."""
        logprobs = record.logprobs
        if record.kind not in ("trace", "direct") or logprobs is None or logprobs.entropy is None:
            return
        inside = self._thinking(record)
        entropy = np.array(logprobs.entropy, dtype=float)[: len(inside)][inside]
        rest = logprobs.rest or [0.0] * len(logprobs.entropy)
        others = np.array(rest, dtype=float)[: len(inside)][inside]
        known = ~np.isnan(entropy)
        entropy, others = entropy[known], np.nan_to_num(others[known])
        if record.kind == "direct":
            self._direct[record.budget].add(entropy, others)
            return
        bounds = [0, *(min(limit, len(entropy)) for limit in self._limits), len(entropy)]
        for sums, start, end in zip(self._between, bounds[:-1], bounds[1:], strict=True):
            sums.add(entropy[start:end], others[start:end])
        if record.stop_cause == "natural" and len(entropy) >= PARTS:
            edges = np.linspace(0, len(entropy), PARTS + 1).round().astype(int)
            for sums, start, end in zip(self._parts, edges[:-1], edges[1:], strict=True):
                sums.add(entropy[start:end], others[start:end])

    def at(self, budget: Budget) -> TokenEntropy | None:
        """Of the thinking that `budget` keeps of every trace, or of the direct replies under it."""
        total = _Sums()
        total.merge(self._direct.get(budget, _Sums()))
        if (budget != 0 and isinstance(budget, int)) or budget == "max":
            for limit, sums in zip([*self._limits, float("inf")], self._between, strict=True):
                if limit <= as_number(budget):
                    total.merge(sums)
        return total.result(self._threshold())

    def along(self) -> list[TokenEntropy | None]:
        """Of each tenth of the traces that ended by themselves, from first to last."""
        threshold = self._threshold()
        return [sums.result(threshold) for sums in self._parts]

    @property
    def forking_threshold(self) -> float | None:
        """Entropy in nats from which on a token is a forking one, to a bin's width; None without any."""
        known = self._between + list(self._direct.values())
        return self._threshold() * WIDTH if any(sums.tokens for sums in known) else None

    def _threshold(self) -> int:
        """The bin above which the fifth of all counted tokens with the highest entropy lies."""
        total = _Sums()
        for sums in [*self._between, *self._direct.values()]:
            total.merge(sums)
        above = total.histogram[::-1].cumsum()[::-1]
        enough = np.flatnonzero(above >= FORKING_SHARE * total.tokens)
        return int(enough[-1]) if total.tokens else 0

    def _thinking(self, record: Record) -> np.ndarray:
        """Which of the tokens that a reply has log probabilities of are thinking: after an open tag."""
        assert record.logprobs is not None
        pieces = record.logprobs.pieces
        if record.token_ids is not None and self._format:
            tokens = np.array(record.token_ids[: len(pieces)])
            opens, closes = tokens == self._format["open_id"], tokens == self._format["close_id"]
        else:
            opening, closing = self._format.get("open", "<think>"), self._format.get("close", "</think>")
            opens = np.array([piece.strip() == opening for piece in pieces])
            closes = np.array([piece.strip() == closing for piece in pieces])
        tags = opens | closes
        last = np.maximum.accumulate(np.where(tags, np.arange(len(tags)), -1))
        started = self._format.get("opened_by") == "template"
        inside: np.ndarray = np.where(last >= 0, opens[last], started) & ~tags
        return inside
