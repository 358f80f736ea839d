"""Where thinking may stop early: at the end of a sentence or line, or when it runs in circles. Pure."""

from collections.abc import Sequence

import numpy as np

from serve.budget import LoopStop
from serve.formats import ThinkingFormat

LONGEST_CYCLE = 512
"""Most tokens of a cycle that is found."""

SENTENCE_ENDS = (".", "!", "?", "…")
WIDE_SENTENCE_ENDS = ("。", "！", "？")
CLOSERS = "\"'”’)]*_`"


LAST_TOKENS = 8
"""Tokens that are enough to tell the end of a sentence: its last mark, and what closes after it."""


def sentence_ends(form: ThinkingFormat, before: Sequence[int], after: int) -> bool:
    """Whether a sentence or line ends between the tokens `before` (at least the last 8) and the one `after`.

    A full stop ends a sentence only before a space, as 3.14 is one number; before a line end it is the line
    end that counts.
    """
    text = form.decode(tuple(before[-LAST_TOKENS:]), skip_special_tokens=False)
    if text.endswith("\n"):
        return True
    bare = text.rstrip(CLOSERS)
    if bare.endswith(WIDE_SENTENCE_ENDS):
        return True
    return bare.endswith(SENTENCE_ENDS) and form.decode((after,), skip_special_tokens=False).startswith(" ")


class CycleDetector:
    """Finds tokens that repeat as one cycle, whatever its length up to `LONGEST_CYCLE`."""

    def __init__(self, loop: LoopStop) -> None:
        lags = np.arange(1, LONGEST_CYCLE + 1)
        # With lag p, a run of r tokens that equal the one p before makes r + p tokens of one cycle.
        self._needed = np.maximum(lags * (loop.repeats - 1), loop.tokens - lags)
        self._recent = np.full(LONGEST_CYCLE, -1)
        self._runs = np.zeros(LONGEST_CYCLE, dtype=np.int64)

    def add(self, token: int) -> None:
        self._runs = (self._runs + 1) * (self._recent == token)
        self._recent = np.roll(self._recent, 1)
        self._recent[0] = token

    @property
    def found(self) -> bool:
        return bool((self._runs >= self._needed).any())
