"""Which points of a forked run are also drawn directly, so that the two ways can be compared."""

import hashlib

from evals.budgets import Budget


def is_crosschecked(share: float, seed: int, problem: str, sample: int, budget: Budget) -> bool:
    """Whether a point is in the random share that is drawn both ways.

    By a hash of the point, so that a resumed or grown run picks the same ones and a larger share adds to
    them. Thinking off and "max" are left out: a forked run asks the server for them directly as it is.
    """
    if not isinstance(budget, int) or budget == 0:
        return False
    digest = hashlib.sha256(f"crosscheck\0{seed}\0{problem}\0{sample}\0{budget}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
