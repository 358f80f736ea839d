"""math-verify as another grader, for comparison: in the cage, because its time limits are not enough.

Off the main thread it has none, and in it an alarm cannot interrupt one long computation.
"""

import importlib.util

from evals.grading.cage import Outcome, shared_cage
from evals.grading.options import Grade, Verdict

# Its own limits add up to 15 s: twice for reading, once for comparing.
_SECONDS = 15.0
_MEMORY_BYTES = 1 << 32


def grade(gold: str, response: str) -> Grade:
    """The grade math-verify gives, its verdicts in our words. Raises ValueError if it is not installed."""
    if importlib.util.find_spec("math_verify") is None:
        raise ValueError(
            "grader: 'math-verify' is not installed; give another, or pip install 'thinkdial[math-verify]'"
        )
    cage = shared_cage("evals.grading.math_verify_worker:check", seconds=_SECONDS, memory_bytes=_MEMORY_BYTES)
    result = cage.call(gold, response)
    if result.outcome is not Outcome.DONE:
        return Grade(correct=False, answer=None, verdict=Verdict.LIMIT, method="math-verify")
    gold_was_read, answer, equal = result.value
    if equal:
        verdict = Verdict.EQUAL
    elif not gold_was_read:
        verdict = Verdict.UNPARSABLE
    else:
        verdict = Verdict.NO_ANSWER if answer is None else Verdict.DIFFERENT
    return Grade(correct=equal, answer=answer, verdict=verdict, method="math-verify")
