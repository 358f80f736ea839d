"""Whether the answer is equivalent to a reference in free form."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from evals.grading import final_answer, grade_many
from trainer.completion import Completion
from trainer.recipe.section import Section
from trainer.rewards.terms import Range


class Equivalence(Section):
    """1 for an answer equivalent to the one that the reference gives, else 0.

    In place of `correctness`, which takes the problem's answer as the bare answer, where that is a sentence
    or a worked solution: its final answer is read as a reply's is (last box, what it states, last formula).
    The evaluator's grader compares. Only what follows the thinking counts.
    """

    separator: str | None = None
    """Stands between several references, of which one is enough; None takes the whole as one."""
    grader: Literal["thinkdial", "math-verify", "exact"] = "thinkdial"

    right: ClassVar[Range] = Range(1.0, 1.0)
    wrong: ClassVar[Range] = Range(0.0, 0.0)

    def verify(self, completions: Sequence[Completion]) -> list[bool]:
        """Which answers are equivalent to a reference."""
        references = [self._references(completion.problem.answer) for completion in completions]
        pairs = [
            (reference, completion.answer)
            for its, completion in zip(references, completions, strict=True)
            for reference in its
        ]
        grades = iter(grade_many(pairs, self.grader))
        return [any([next(grades).correct for _ in its]) for its in references]

    def score(self, group: Sequence[Completion], right: Sequence[bool]) -> list[float]:
        return [float(one) for one in right]

    def _references(self, text: str) -> list[str]:
        parts = [text] if self.separator is None else text.split(self.separator)
        return [final_answer(part) or part for part in parts if part.strip()]
