"""Entropy of the tokens thought within each budget, added up trace by trace as a store is read.

The entropy of a token is that of the distribution it was drawn from, in nats; from the `top` most likely
tokens, with all others as one, it is a lower bound, and the probability of those others tells how loose.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evals.budgets import Budget, as_number
from evals.records import Record

BINS = 2600
LEAST = 1e-9
WIDTH = 0.009
"""Bins of the histogram of entropies: from LEAST nats on, each 0.9 % wide, up to 14 nats. The first holds
what is smaller: certain tokens, which are never forking. Models differ in entropy by orders of magnitude."""
PARTS = 10
FORKING_SHARE = 0.2
"""Forking tokens are the fifth of all thinking tokens with the highest entropy (Wang et al. 2025,
"Beyond the 80/20 rule", arXiv:2506.01939)."""
_UNIT = 1e-9


@dataclass(frozen=True, slots=True)
class TokenEntropy:
    """Of some tokens: mean entropy, mean probability of the tokens not listed, share of forking tokens."""

    tokens: int
    entropy: float
    rest: float
    forking_share: float


class _Sums:
    """Token counts, sums and histograms of some groups of tokens.

    Sums are whole numbers of `_UNIT`, so that they do not depend on the order of the records.
    """

    def __init__(self, groups: int) -> None:
        self.entropy = np.zeros(groups, dtype=np.int64)
        self.rest = np.zeros(groups, dtype=np.int64)
        self.histogram = np.zeros((groups, BINS), dtype=np.int64)

    def add(self, group: np.ndarray, entropy: np.ndarray, rest: np.ndarray) -> None:
        """Count tokens; `group` is the place of each."""
        groups = len(self.entropy)
        for sums, values in ((self.entropy, entropy), (self.rest, rest)):
            # Whole numbers below 2^53: their floating sum is exact.
            sums += np.bincount(group, np.rint(values / _UNIT), groups).astype(np.int64)
        bins = 1 + np.log(np.maximum(entropy, LEAST / 2) / LEAST) / WIDTH
        cells = group * BINS + np.clip(bins, 0, BINS - 1).astype(np.int64)
        self.histogram += np.bincount(cells, minlength=groups * BINS).reshape(groups, BINS)

    def result(self, groups: Sequence[int], threshold: int) -> TokenEntropy | None:
        """Some groups together; tokens in bin `threshold` and above are forking."""
        histogram = self.histogram[list(groups)].sum(axis=0)
        tokens = int(histogram.sum())
        if tokens == 0:
            return None
        return TokenEntropy(
            tokens,
            int(self.entropy[list(groups)].sum()) * _UNIT / tokens,
            int(self.rest[list(groups)].sum()) * _UNIT / tokens,
            int(histogram[threshold:].sum()) / tokens,
        )


class EntropyTally:
    """Token entropies of a run's thinking, by budget and by place in the trace."""

    def __init__(self, budgets: Sequence[Budget], format: dict[str, Any], forked: bool) -> None:
        """budgets: those reported. format: the manifest's thinking format, empty where it is unknown.

        forked: whether the run's traces are forked, so that direct replies are a second way to its points.
        """
        self._kind = "trace" if forked else "direct"
        self._format = format
        self._limits = sorted(int(b) for b in budgets if isinstance(b, int) and b > 0)
        self._budgets = list(budgets)
        # Tokens of traces between one budget and the next, and those of direct replies by their budget.
        self._thought = _Sums(len(self._limits) + 1 + len(budgets))
        self._parts = _Sums(PARTS)

    def add(self, record: Record) -> None:
        """Count the thinking tokens of a trace, or of a direct reply where nothing is forked."""
        logprobs = record.logprobs
        if record.kind != self._kind or logprobs is None or logprobs.entropy is None:
            return
        inside = self._thinking(record)
        entropy = np.array(logprobs.entropy, dtype=float)[: len(inside)][inside]
        rest = logprobs.rest or [0.0] * len(logprobs.entropy)
        others = np.array(rest, dtype=float)[: len(inside)][inside]
        known = ~np.isnan(entropy)
        entropy, others = entropy[known], np.nan_to_num(others[known])
        places = np.arange(len(entropy))
        if record.kind == "direct":
            self._thought.add(np.full(len(entropy), self._direct(record.budget)), entropy, others)
            return
        self._thought.add(np.searchsorted(self._limits, places, side="right"), entropy, others)
        if record.stop_cause == "natural" and len(entropy) >= PARTS:
            self._parts.add(places * PARTS // len(entropy), entropy, others)

    def at(self, budget: Budget) -> TokenEntropy | None:
        """Of the thinking that `budget` keeps of every trace, or of the direct replies under it."""
        groups = [self._direct(budget)]
        if budget != 0 and (isinstance(budget, int) or budget == "max"):
            limits = [*self._limits, float("inf")]
            groups += [group for group, limit in enumerate(limits) if limit <= as_number(budget)]
        return self._thought.result(groups, self._threshold())

    def along(self) -> list[TokenEntropy | None]:
        """Of each tenth of the traces that ended by themselves, from first to last."""
        threshold = self._threshold()
        return [self._parts.result([part], threshold) for part in range(PARTS)]

    @property
    def forking_threshold(self) -> float | None:
        """Entropy in nats from which on a token is a forking one, to a bin's width; None without any."""
        if not self._thought.histogram.any():
            return None
        return LEAST * math.exp((self._threshold() - 1) * WIDTH)

    def _direct(self, budget: Budget) -> int:
        return len(self._limits) + 1 + self._budgets.index(budget)

    def _threshold(self) -> int:
        """The bin from which on the fifth of all counted tokens with the highest entropy lies, at least 1."""
        histogram = self._thought.histogram.sum(axis=0)
        above = histogram[::-1].cumsum()[::-1]
        # The last bin that still has enough from there on.
        return max(1, int(np.flatnonzero(above >= FORKING_SHARE * above[0])[-1])) if above[0] else 1

    def _thinking(self, record: Record) -> np.ndarray:
        """Which of the tokens that a reply has log probabilities of are thinking: after an open tag."""
        assert record.logprobs is not None
        pieces = record.logprobs.pieces
        if record.token_ids is not None and self._format:
            tokens = np.array(record.token_ids[: len(pieces)])
            opens, closes = tokens == self._format["open_id"], tokens == self._format["close_id"]
        else:
            opening, closing = self._format.get("open", "<think>"), self._format.get("close", "</think>")
            opens = np.array([piece.strip() == opening for piece in pieces], dtype=bool)
            closes = np.array([piece.strip() == closing for piece in pieces], dtype=bool)
        tags = opens | closes
        last = np.maximum.accumulate(np.where(tags, np.arange(len(tags)), -1))
        started = self._format.get("opened_by") == "template"
        inside: np.ndarray = np.where(last >= 0, opens[last], started) & ~tags
        return inside
