"""thinkmath's training split as an endless source, with the programs' own thinking."""

import random
import re
from collections.abc import Mapping

from evals.problems import thinkmath
from evals.problems.thinkmath import Item, split_of
from trainer.examples import Example

_WORKING = re.compile(r"\d+[-+*%]\d+=")
_COMMUTES = re.compile(r"^digit (\d)([+*])(\d)")


def response_to(answer: str) -> str:
    """What follows the thinking of a thinkmath example."""
    return f"The answer is \\boxed{{{answer}}}."


def terse_trace(trace: str) -> str:
    """The trace without its working: of every equation the result alone."""
    return _WORKING.sub("", trace)


def reads_as_held_out(item: Item) -> bool:
    """Whether an expression may be a held-out one word for word: 7+3 is written for 7+3 and for 3+7."""
    turned = _COMMUTES.sub(r"digit \3\2\1", item.canonical)
    return item.problem.subject == "expression" and split_of(turned) == "test"


class Thinkmath:
    """Training problems with their traces; example i is a function of (seed, i). Never a held-out problem.

    levels: how often each level is drawn; None is evenly. terse: share of examples with terse thinking.
    """

    size: int | None = None

    def __init__(self, seed: int, levels: Mapping[int, float] | None, terse: float = 0.0) -> None:
        """Raises ValueError when a level is none of thinkmath's, or no level has a weight."""
        weights = dict.fromkeys(thinkmath.LEVELS, 1.0) if levels is None else dict(levels)
        unknown = [level for level in weights if level not in thinkmath.LEVELS]
        if unknown or min(weights.values(), default=0) < 0 or not sum(weights.values()):
            raise ValueError(
                f"levels: {weights} must give levels of {list(thinkmath.LEVELS)} weights of at least 0, "
                "one of them above 0"
            )
        self._seed, self._terse = seed, terse
        self._levels = list(weights)
        self._weights = list(weights.values())

    def at(self, index: int) -> Example:
        rng = random.Random(f"thinkmath-train-{self._seed}-{index}")
        level = rng.choices(self._levels, weights=self._weights)[0]
        item = thinkmath.draw(rng, "train", level)
        while reads_as_held_out(item):
            item = thinkmath.draw(rng, "train", level)
        # Drawn last, so that a source with another share poses the same problems.
        trace = terse_trace(item.trace) if rng.random() < self._terse else item.trace
        return Example(item.problem, thinking=trace, response=response_to(item.problem.answer))
