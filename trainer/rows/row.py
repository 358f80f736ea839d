"""A training row: a prompt with one reply, and branches that fork off it and end in other replies.

Each branch sees the trunk only up to its fork. So one trace teaches every budget at the price of one, as one
trace measures every budget in a forked sweep.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer.rows.conversation import Conversation


@dataclass(frozen=True, slots=True)
class Branch:
    """Tokens from `start` to the next branch, which continue the trunk's first `fork` tokens.

    given: how many of them stand there without the model's doing (inserted at a cut, or the template's).
    kind: `cut` or `no_think`.
    """

    start: int
    fork: int
    given: int
    kind: str


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids of a trunk and its branches, and the loss weight of each, 0 where not trained.

    A branch's first token has weight 0, as the token before it in `ids` is not the one it follows.
    prompt: how many of the ids are the prompt, and `conversation` what it says, where known. kind: `think` or
    `no_think`, of the trunk.
    """

    ids: list[int]
    weights: list[float]
    prompt: int
    kind: str
    conversation: Conversation | None = None
    branches: list[Branch] = field(default_factory=list)

    def add_branch(
        self, fork: int, given: Sequence[int], reply: Sequence[int], weights: Sequence[float], kind: str
    ) -> None:
        """Fork off after `fork` tokens of the trunk: `given` tokens without loss, then a weighted `reply`.

        Raises ValueError if nothing is given: the reply's first token could not be trained.
        """
        if not given:
            raise ValueError("given: [] is wrong because a branch's first token has no loss; fork earlier")
        self.branches.append(Branch(len(self.ids), fork, len(given), kind))
        self.ids.extend([*given, *reply])
        self.weights.extend([*[0.0] * len(given), *weights])

    def segments(self) -> list[tuple[int, int]]:
        """First token and end of the trunk and of each branch, in order."""
        starts = [0, *(branch.start for branch in self.branches)]
        return list(zip(starts, [*starts[1:], len(self.ids)], strict=True))
