"""Rewards of a reply's length, in tokens that the model sampled."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from trainer.completion import Completion
from trainer.recipe.section import Section
from trainer.rewards.terms import Range

_OVERLONG_SHARE = 0.2  # of max_tokens: DAPO's 4,096 of 20,480


class Length(Section):
    """Shorter right replies are better (Kimi k1.5, section 2.3.3).

    lambda = 0.5 - (length - min) / (max - min), with the shortest and the longest reply of the prompt group,
    thinking and answer together. A right reply gets lambda, a wrong one min(0, lambda); all get 0 where every
    length is the same. Kimi leaves it off at first: `from_step`.
    """

    right: ClassVar[Range] = Range(-0.5, 0.5)
    wrong: ClassVar[Range] = Range(-0.5, 0.0)

    def score(self, group: Sequence[Completion], right: Sequence[bool]) -> list[float]:
        lengths = [completion.tokens for completion in group]
        shortest, longest = min(lengths), max(lengths)
        if shortest == longest:
            return [0.0] * len(lengths)
        shares = [0.5 - (length - shortest) / (longest - shortest) for length in lengths]
        return [share if one else min(0.0, share) for share, one in zip(shares, right, strict=True)]


class Overlong(Section):
    """A penalty near the limit of a reply (soft overlong punishment, DAPO, eq. 13).

    0 up to max_tokens - cache, from there falling linearly to -1 at max_tokens. A reply that ran into its
    limit gets -1, also where inserted tokens took part of it.
    """

    cache: int | None = Field(default=None, gt=0)
    """Tokens before the limit in which the penalty grows; a fifth of max_tokens unless given."""

    right: ClassVar[Range] = Range(-1.0, 0.0)
    wrong: ClassVar[Range] = Range(-1.0, 0.0)

    def score(self, group: Sequence[Completion], right: Sequence[bool]) -> list[float]:
        return [self._penalty(completion) for completion in group]

    def _penalty(self, completion: Completion) -> float:
        if completion.finish_reason == "length":
            return -1.0
        cache = self.cache or _OVERLONG_SHARE * completion.max_tokens
        over = completion.tokens - (completion.max_tokens - cache)
        return 0.0 if over <= 0 else max(-over / cache, -1.0)
