"""Leave out lucky guesses: right answers that the thinking before them does not reach.

Thinking reaches an answer if the answer's value stands in it: a number equal to it, in whatever way it is
written (0.5, 1/2, 50 %), each number of an answer with several, or its words. A derivation needs that, and
more: thinking that is wrong but mentions the value is kept. Answers that are one of two (yes and no, true and
false, a chance of 1/2 or more) are not judged, as thinking decides them without naming them.
"""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from evals.grading import final_answer
from evals.problems import Problem
from trainer.curation.candidates import Candidate, Dropped, Outcome, each
from trainer.curation.sampling import Sampler, Try

_BINARY = ("yes", "no", "true", "false")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))|(\d+)\s*/\s*(\d+)")
_NUMBER = re.compile(r"\d+(?:(?:\{,\}|,\\?!?)\d{3})*(?:\.\d+)?|\.\d+")
_PERCENT = re.compile(r"\s*\\?%")
_SEPARATOR = re.compile(r"\{,\}|,\\?!?")
_WORD = re.compile(r"[^\W\d_]{2,}")
_QUOTED = 200


class LuckyGuesses:
    """Judges worked replies, or with `samples` a model's tries.

    Without samples: drops candidates whose own thinking does not reach their answer, or whose response gives
    another answer than the problem's. With samples: drops problems that are right in fewer than `fewer_than`
    of the tries, at least one, where no right try's thinking reaches the answer.
    """

    def __init__(
        self,
        sampler: Sampler | None = None,
        samples: int = 0,
        fewer_than: int = 3,
        temperature: float = 1.0,
    ) -> None:
        self._sampler = sampler
        self._samples = samples
        self._fewer_than = fewer_than
        self._temperature = temperature

    def __call__(self, candidates: Sequence[Candidate]) -> Outcome:
        if self._sampler is None or not self._samples:
            return each(candidates, self._judge)
        outcome = Outcome([], [])
        tries = self._sampler.tries(candidates, self._samples, True, self._temperature)
        for candidate, replies in zip(candidates, tries, strict=True):
            evidence = self._judge_tries(candidate.example.problem, replies)
            if evidence is None:
                outcome.kept.append(candidate)
            else:
                outcome.dropped.append(Dropped(candidate, "right by luck", evidence))
        return outcome

    def _judge(self, candidate: Candidate) -> tuple[str, Mapping[str, Any]] | None:
        example = candidate.example
        if example.thinking is None or is_binary(example.problem):
            return None
        answer = example.problem.answer or final_answer(example.response or "")
        if not answer or reaches(example.thinking, answer):
            return None
        return "thinking does not reach the answer", {"answer": answer, "end": example.thinking[-_QUOTED:]}

    def _judge_tries(self, problem: Problem, replies: Sequence[Try]) -> Mapping[str, Any] | None:
        right = [reply for reply in replies if reply.right]
        if is_binary(problem) or not 0 < len(right) < self._fewer_than:
            return None
        if any(reply.thinking and reaches(reply.thinking, problem.answer) for reply in right):
            return None
        return {
            "right": len(right),
            "samples": len(replies),
            "answer": problem.answer,
            "end": (right[0].thinking or "")[-_QUOTED:],
        }


def is_binary(problem: Problem) -> bool:
    """Whether an answer is one of two."""
    words = [word.lower() for word in _WORD.findall(problem.answer) if word not in ("text", "mathrm")]
    return (problem.chance or 0) >= 0.5 or (len(words) == 1 and words[0] in _BINARY)


def reaches(thinking: str, answer: str) -> bool:
    """Whether the values of `answer` stand in `thinking`; an answer of words, its words."""
    wanted = values(answer, parts=False)
    if wanted:
        return wanted <= values(thinking, parts=True)
    said = {word.lower() for word in _WORD.findall(thinking)}
    words = [word.lower() for word in _WORD.findall(re.sub(r"\\[A-Za-z]+", " ", answer))]
    if words:
        return said.issuperset(words)
    compact = re.sub(r"[\s${}\\]", "", answer)
    return compact in re.sub(r"[\s${}\\]", "", thinking)


def values(text: str, parts: bool) -> set[Fraction]:
    """The numbers in a text without their signs, fractions as one.

    parts: also the numbers that fractions are made of, and percentages as shares of one and as numbers.
    """
    found: set[Fraction] = set()
    rest = []
    end = 0
    for match in _FRACTION.finditer(text):
        over, under = int(match[1] or match[2] or match[5]), int(match[3] or match[4] or match[6])
        if under:
            found.add(Fraction(over, under))
        if under and not parts:
            rest.append(text[end : match.start()])
            end = match.end()
    rest.append(text[end:])
    for piece in rest:
        for match in _NUMBER.finditer(piece):
            value = Fraction(_SEPARATOR.sub("", match[0]))
            found.add(value)
            if parts and _PERCENT.match(piece, match.end()):
                found.add(value / 100)
    return found
