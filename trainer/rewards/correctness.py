"""Whether the answer is the expected one."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from evals.grading import grade_many
from trainer.completion import Completion
from trainer.recipe.section import Section
from trainer.rewards.terms import Range


class Correctness(Section):
    """1 for a right answer, else 0 (DeepSeek-R1, section 2.2.2, accuracy rewards).

    The evaluator's grader decides, symbolic comparison in its cage, so that training and measurement agree.
    Only what follows the thinking counts: a right value in the thinking alone earns nothing.
    """

    grader: Literal["thinkdial", "math-verify", "exact"] = "thinkdial"

    right: ClassVar[Range] = Range(1.0, 1.0)
    wrong: ClassVar[Range] = Range(0.0, 0.0)

    def verify(self, completions: Sequence[Completion]) -> list[bool]:
        """Which answers are right; equal ones of a problem are graded once."""
        pairs = [(completion.problem.answer, completion.answer) for completion in completions]
        return [grade.correct for grade in grade_many(pairs, self.grader)]

    def score(self, group: Sequence[Completion], right: Sequence[bool]) -> list[float]:
        return [float(one) for one in right]
