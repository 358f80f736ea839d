"""Answer grading: what a reply's final answer is, and whether it equals the expected one.

A reply's way through the package, each file calling those after it:

    grade           the stages, from cheap to costly, and their verdict (types and conventions: options)
    extract         which part of the reply is the final answer
    plain           the same text, or plain numbers: no parser
    readings        from text to trees (tree), with each meaning a comma may have, or to words
      spelling        one spelling of Unicode signs, degrees, thousands
      tokens          tokens of LaTeX or plain text, with the names of vocabulary and units
      expressions <- atoms <- environments <- answers
                      one parser in four classes: sums and products; numbers, functions and radicals;
                      matrices and cases; lists, sets, intervals, equations
    compare         two trees, by what they are
      forms           one form for what is written in several
      scalars         conventions, then exact values (exact), then values at chosen points (probe, numeric)
      intervals       sets of reals; matrices: their arithmetic
    choices         letters of multiple choice; opposites: words that turn an answer around
    symbolic        computer algebra, for what numbers cannot settle, in a worker process
    cage            such processes, with limits of time and memory; worker: the other side
    math_verify     another grader in the cage; math_verify_worker: what runs there

Nothing in a reply is executed or handed to a parser that may execute it.
"""

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
