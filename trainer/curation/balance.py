"""Keep topics in balance: no more than so many problems of one."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from trainer.curation.candidates import Candidate, Dropped, Outcome

Topic = Literal["subject", "level", "set"]


class TopicBalance:
    """Keeps at most `most` candidates of each subject (or level, or set); having none is a topic too.

    Which ones is decided by a hash of the seed and the problem's id, so adding problems changes it little.
    """

    def __init__(self, most: int, by: Topic = "subject", seed: int = 0) -> None:
        self._most = most
        self._by = by
        self._seed = seed

    def __call__(self, candidates: Sequence[Candidate]) -> Outcome:
        topics: dict[object, list[int]] = defaultdict(list)
        for number, candidate in enumerate(candidates):
            topics[getattr(candidate.example.problem, self._by)].append(number)
        over: set[int] = set()
        for members in topics.values():
            ordered = sorted(members, key=lambda number: self._rank(candidates[number]))
            over.update(ordered[self._most :])
        outcome = Outcome([], [])
        for number, candidate in enumerate(candidates):
            if number not in over:
                outcome.kept.append(candidate)
                continue
            topic = getattr(candidate.example.problem, self._by)
            evidence = {self._by: topic, "candidates": len(topics[topic]), "most": self._most}
            outcome.dropped.append(Dropped(candidate, f"enough of this {self._by}", evidence))
        return outcome

    def _rank(self, candidate: Candidate) -> str:
        return hashlib.sha256(f"{self._seed} {candidate.example.problem.id}".encode()).hexdigest()
