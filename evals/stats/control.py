"""How well thinking keeps to the budget that was asked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class ControlError:
    """Tokens asked and used over `n` traces.

    `over_share` is the share of traces above their budget, `mean_overshoot` the mean of max(0, used - asked).
    `mean_error` is mean(used - asked), `mean_relative_error` mean(|used - asked| / asked), None where 0 was
    asked. A budget is a cap: using less of it by ending early is no fault of the control.
    """

    n: int
    asked: float
    mean_used: float
    max_used: float
    over_share: float
    mean_overshoot: float
    mean_error: float
    mean_relative_error: float | None


def control_error(asked: float | Sequence[float], used: Sequence[float]) -> ControlError | None:
    """Thinking tokens used against those asked, one for all traces or one each; None without traces.

    The relative error is that of L1 (Aggarwal and Welleck 2025, arXiv:2503.04697, section 4). Raises
    ValueError for negative tokens or unequal lengths.
    """
    spent = np.asarray(used, dtype=float)
    if not spent.size:
        return None
    wanted = np.asarray(asked, dtype=float)
    if wanted.ndim and wanted.shape != spent.shape:
        raise ValueError(f"asked: {wanted.size} budgets for {spent.size} traces; give one, or one each")
    if wanted.min() < 0 or spent.min() < 0:
        raise ValueError("asked, used: a number of tokens is below 0")
    error = spent - wanted
    relative = float((np.abs(error) / wanted).mean()) if wanted.min() > 0 else None
    return ControlError(
        n=spent.size,
        asked=float(wanted.mean()),
        mean_used=float(spent.mean()),
        max_used=float(spent.max()),
        over_share=float((error > 0).mean()),
        mean_overshoot=float(np.maximum(error, 0).mean()),
        mean_error=float(error.mean()),
        mean_relative_error=relative,
    )
