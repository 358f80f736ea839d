"""Leave out problems whose answer a model guesses without thinking.

Kimi k1.5 (arXiv 2501.12599, section 2.1): a prompt that is answered rightly within N = 8 tries without
chain of thought is too easy to hack. Answers with few values (a digit, a side of a coin) are guessed by
chance: of ten equally likely values eight tries hit the right one with probability 0.57. Raise `most` there.
"""

from collections.abc import Sequence

from trainer.curation.candidates import Candidate, Dropped, Outcome
from trainer.curation.sampling import Sampler


class Guessable:
    """Drops candidates of which more than `most` of the tries without thinking are right."""

    def __init__(self, sampler: Sampler, samples: int = 8, temperature: float = 1.0, most: int = 0) -> None:
        self._sampler = sampler
        self._samples = samples
        self._temperature = temperature
        self._most = most

    def __call__(self, candidates: Sequence[Candidate]) -> Outcome:
        outcome = Outcome([], [])
        tries = self._sampler.tries(candidates, self._samples, False, self._temperature)
        for candidate, guesses in zip(candidates, tries, strict=True):
            right = [guess.answer for guess in guesses if guess.right]
            noted = Candidate(
                candidate.example, {**candidate.notes, "guess_rate": len(right) / self._samples}
            )
            if len(right) <= self._most:
                outcome.kept.append(noted)
            else:
                evidence = {"right": len(right), "samples": self._samples, "guess": right[0]}
                outcome.dropped.append(Dropped(noted, "guessed without thinking", evidence))
        return outcome
