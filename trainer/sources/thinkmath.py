"""thinkmath's training split as an endless source, with the programs' own thinking."""

import random
from collections.abc import Mapping

from evals.problems import thinkmath
from trainer.examples import Example


def response_to(answer: str) -> str:
    """What follows the thinking of a thinkmath example."""
    return f"The answer is \\boxed{{{answer}}}."


class Thinkmath:
    """Training problems with their traces; example i is a function of (seed, i). Never a held-out problem.

    levels: how often each level is drawn; None is evenly.
    """

    size: int | None = None

    def __init__(self, seed: int, levels: Mapping[int, float] | None) -> None:
        """Raises ValueError when a level is none of thinkmath's, or no level has a weight."""
        weights = dict.fromkeys(thinkmath.LEVELS, 1.0) if levels is None else dict(levels)
        unknown = [level for level in weights if level not in thinkmath.LEVELS]
        if unknown or min(weights.values(), default=0) < 0 or not sum(weights.values()):
            raise ValueError(
                f"levels: {weights} must give levels of {list(thinkmath.LEVELS)} weights of at least 0, "
                "one of them above 0"
            )
        self._seed = seed
        self._levels = list(weights)
        self._weights = list(weights.values())

    def at(self, index: int) -> Example:
        rng = random.Random(f"thinkmath-train-{self._seed}-{index}")
        item = thinkmath.draw(rng, "train", rng.choices(self._levels, weights=self._weights)[0])
        return Example(item.problem, thinking=item.trace, response=response_to(item.problem.answer))
