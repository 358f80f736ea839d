"""A penalty for saying the same again."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from trainer.completion import Completion
from trainer.recipe.section import Section
from trainer.rewards.terms import Range


class Repetition(Section):
    """Minus the share of the reply's word n-grams that occurred in it before.

    0 where all are different, towards -1 where one repeats. After the n-gram penalty of Yeo et al. (arXiv
    2502.03373). Text without spaces is one word, so it sees no repetition in Chinese or Japanese.
    """

    ngram: int = Field(default=20, gt=0)
    """Words."""

    right: ClassVar[Range] = Range(-1.0, 0.0)
    wrong: ClassVar[Range] = Range(-1.0, 0.0)

    def score(self, group: Sequence[Completion], right: Sequence[bool]) -> list[float]:
        return [self._penalty(completion.reply.split()) for completion in group]

    def _penalty(self, words: list[str]) -> float:
        total = len(words) - self.ngram + 1
        if total < 1:
            return 0.0
        distinct = {tuple(words[start : start + self.ngram]) for start in range(total)}
        return len(distinct) / total - 1
