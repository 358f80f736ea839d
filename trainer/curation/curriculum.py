"""Put problems in order from easy to hard, and label them (Kimi k1.5, arXiv 2501.12599, section 2.3.4)."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from trainer.curation.candidates import Candidate, Dropped, Outcome
from trainer.curation.difficulty import PASS_RATE


class Curriculum:
    """Orders candidates from easy to hard and drops none that can be placed.

    by "level": the problems' own levels, which must be numbers. by "pass_rate": what the `pass_rate` step
    measured; the level becomes a label from 1, the easiest, to `labels`, each for an equal part of the range
    of pass rates from 1 to 0. Equal ones stay in their order.
    """

    def __init__(self, by: Literal["level", "pass_rate"] = "level", labels: int = 5) -> None:
        self._by = by
        self._labels = labels

    def __call__(self, candidates: Sequence[Candidate]) -> Outcome:
        placed: list[tuple[float, Candidate]] = []
        dropped = []
        for candidate in candidates:
            problem = candidate.example.problem
            if self._by == "pass_rate":
                if PASS_RATE not in candidate.notes:
                    raise ValueError("by: 'pass_rate' needs a step of kind 'pass_rate' before this one")
                hardness = 1 - float(candidate.notes[PASS_RATE])
                label = min(self._labels, 1 + int(hardness * self._labels + 1e-9))
                example = dataclasses.replace(
                    candidate.example, problem=dataclasses.replace(problem, level=label)
                )
                placed.append((hardness, Candidate(example, candidate.notes)))
            elif isinstance(problem.level, int):
                placed.append((problem.level, candidate))
            else:
                evidence = {"level": problem.level}
                dropped.append(Dropped(candidate, "no number as level", evidence))
        return Outcome([candidate for _, candidate in sorted(placed, key=lambda pair: pair[0])], dropped)
