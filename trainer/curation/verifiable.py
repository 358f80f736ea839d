"""Leave out problems whose answer our grader cannot check: none, prose, or not told from another."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from evals.grading import Verdict, compare, grade
from trainer.curation.candidates import Candidate, Outcome, each

WORDS = 3
CHARACTERS = 200
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_SUBSCRIPT = re.compile(r"_\s*(?:\{[^{}]*\}|.)")
_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox|operatorname)\s*\{([^{}]*)\}")


class Verifiable:
    """Drops candidates without an answer, and those whose answer the grader cannot verify.

    An answer is verifiable if a reply that boxes it is right, and one that boxes it with its last digit
    changed is wrong: the grader has read it as something. Prose of more than `words` words would have to be
    repeated to the letter.
    """

    def __init__(self, words: int = WORDS) -> None:
        self._words = words

    def __call__(self, candidates: Sequence[Candidate]) -> Outcome:
        return each(candidates, self._judge)

    def _judge(self, candidate: Candidate) -> tuple[str, Mapping[str, Any]] | None:
        answer = candidate.example.problem.answer.strip()
        evidence = {"answer": answer[:CHARACTERS]}
        if not answer:
            return "no answer", {}
        if len(answer) > CHARACTERS:
            return "answer too long", evidence | {"characters": len(answer)}
        words = len(_WORD.findall(_TEXT.sub(r" \1 ", answer)))
        if words > self._words:
            return "answer in prose", evidence | {"words": words}
        given = grade(answer, f"The answer is \\boxed{{{answer}}}.")
        if not given.correct:
            return "answer not read", evidence | {"read": given.answer, "verdict": given.verdict.value}
        changed = near_miss(answer)
        if changed is not None:
            verdict, method = compare(answer, changed)
            if verdict in (Verdict.EQUAL, Verdict.LIMIT):
                told = {"changed": changed, "verdict": verdict.value, "method": method}
                return "answer not told from another", evidence | told
        return None


def near_miss(answer: str) -> str | None:
    """The answer with its last digit outside subscripts increased, 9 to 8; None without one."""
    subscripts = {place for match in _SUBSCRIPT.finditer(answer) for place in range(*match.span())}
    digits = [match for match in re.finditer(r"[0-9]", answer) if match.start() not in subscripts]
    if not digits:
        return None
    last = digits[-1]
    value = int(last[0])
    return answer[: last.start()] + str(value + 1 if value < 9 else 8) + answer[last.end() :]
