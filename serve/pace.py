"""How long an answer will take on this server, for requests with a deadline. The caller has the clock."""

import math
from collections import deque
from collections.abc import Iterable

HISTORY = 128
QUANTILE = 0.9
FIRST_SHARE = 0.25
SMOOTHING = 0.1
MARGIN = 0.02


class Pace:
    """What finished replies tell about the length and speed of the next one."""

    def __init__(self) -> None:
        self._answers: deque[int] = deque(maxlen=HISTORY)
        self._waits: deque[float] = deque(maxlen=HISTORY)
        self._errors: deque[float] = deque(maxlen=HISTORY)
        self._step: float | None = None

    def observe_answer(self, tokens: int) -> None:
        self._answers.append(tokens)

    def observe_step(self, seconds: float) -> None:
        """Time from one token of a reply to its next."""
        old = seconds if self._step is None else self._step
        self._step = (1 - SMOOTHING) * old + SMOOTHING * seconds

    def observe_wait(self, seconds: float) -> None:
        """Time from a cut to the first token of its answer."""
        self._waits.append(seconds)

    def observe_error(self, ratio: float) -> None:
        """Time that a cut and its answer took, over what `estimate` said when it was decided."""
        self._errors.append(ratio)

    def estimate(self, tokens: int, step: float | None) -> float | None:
        """Seconds that a cut and its answer need; None on a server that has not answered yet.

        tokens: length of the answer if the request says it, else 0: then nine of ten recent answers fit.
        step: seconds per token that this reply takes; None if it has none yet.
        """
        step = step or self._step
        if step is None or not (tokens or self._answers):
            return None
        wait = _quantile(self._waits) if self._waits else 2 * step
        return wait + (tokens or _quantile(self._answers)) * step

    def kept_back(self, deadline: float, estimate: float | None) -> float:
        """Seconds before the deadline at which thinking must end, for an estimate of the answer's time.

        Estimates are corrected by how wrong nine of ten have been lately; a share of the deadline is left for
        the way to the client. Without an estimate it is a quarter of the deadline.
        """
        if estimate is None:
            return FIRST_SHARE * deadline
        correction = max(1.0, _quantile(self._errors)) if self._errors else 1.0
        return correction * estimate + MARGIN * deadline


def _quantile(values: Iterable[float]) -> float:
    """What nine of ten values do not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(QUANTILE * len(ordered)) - 1]
