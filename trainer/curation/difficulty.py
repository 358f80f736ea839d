"""Keep problems that a model solves neither never nor always, by its pass rate over several tries.

Kimi k1.5 (arXiv 2501.12599, section 2.1) takes ten tries at a high temperature; the lower the pass rate, the
harder the problem. A band of 0 to 0 over 8 tries keeps those that fail all eight.
"""

from collections.abc import Sequence

from trainer.curation.candidates import Candidate, Dropped, Outcome
from trainer.curation.sampling import Sampler

PASS_RATE = "pass_rate"
"""The note a candidate bears afterwards."""


class PassRate:
    """Keeps candidates whose share of right thinking replies lies within [low, high]; notes it on each."""

    def __init__(
        self,
        sampler: Sampler,
        samples: int = 10,
        temperature: float = 1.0,
        low: float = 0.1,
        high: float = 0.9,
    ) -> None:
        self._sampler = sampler
        self._samples = samples
        self._temperature = temperature
        self._low, self._high = low, high

    def __call__(self, candidates: Sequence[Candidate]) -> Outcome:
        outcome = Outcome([], [])
        tries = self._sampler.tries(candidates, self._samples, True, self._temperature)
        for candidate, replies in zip(candidates, tries, strict=True):
            right = sum(reply.right for reply in replies)
            rate = right / self._samples
            noted = Candidate(
                candidate.example, {**candidate.notes, PASS_RATE: rate, "pass_samples": self._samples}
            )
            if self._low <= rate <= self._high:
                outcome.kept.append(noted)
                continue
            evidence = {"right": right, "samples": self._samples}
            reason = "too hard" if rate < self._low else "too easy"
            outcome.dropped.append(Dropped(noted, reason, evidence))
        return outcome
