"""Leave out what stands in the sets that models are measured on, by the overlap of word n-grams.

Of each evaluation problem, the share of its n-grams that stand in the candidate is counted
(`evals.contamination`): in its question and, apart, in its thinking and response. A problem with one number
changed is found, being half a copy. Paraphrases and translations are not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.contamination import NGRAM, SHARE, ProblemIndex
from evals.problems import load, parse_selectors
from trainer.curation.candidates import Candidate, Outcome, each, question_text


class Decontaminate:
    """Drops candidates that hold `share` or more of an evaluation problem's n-grams of n words.

    Memory grows with the evaluation problems; time with the candidates' words.
    """

    def __init__(self, problems: Sequence[str], n: int = NGRAM, share: float = SHARE) -> None:
        """problems: sets as `evals.problems.load` takes them. Raises ValueError for thinkmath or no set."""
        if any(selector.name == "thinkmath" for selector in parse_selectors(problems)):
            raise ValueError(
                "problems: thinkmath's sentences are all made from a few patterns, so n-grams do not tell "
                "its problems apart; its training split holds no held-out problem by construction"
            )
        self._share = share
        self._index = ProblemIndex(load(problems), n)

    def __call__(self, candidates: Sequence[Candidate]) -> Outcome:
        return each(candidates, self._judge)

    def _judge(self, candidate: Candidate) -> tuple[str, Mapping[str, Any]] | None:
        example = candidate.example
        texts = {
            "problem": question_text(example),
            "thinking": example.thinking,
            "response": example.response,
        }
        for member, text in texts.items():
            overlaps = self._index.overlaps(text) if text else []
            if overlaps and overlaps[0].share >= self._share:
                worst = overlaps[0]
                evidence = {"in": member, "of": worst.problem.id, "share": round(worst.share, 4)}
                return f"stands in {worst.problem.set}", evidence | {"match": worst.match}
        return None
