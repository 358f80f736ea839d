"""Answer grading: what a reply's final answer is, and whether it equals the expected one."""

from evals.grading.extract import final_answer, last_boxed
from evals.grading.grade import compare, equivalent, grade, grade_many
from evals.grading.options import Grade, GradingOptions, Verdict
from evals.grading.plain import normalise

__all__ = [
    "Grade",
    "GradingOptions",
    "Verdict",
    "compare",
    "equivalent",
    "final_answer",
    "grade",
    "grade_many",
    "last_boxed",
    "normalise",
]
