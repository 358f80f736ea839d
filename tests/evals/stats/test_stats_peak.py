"""Where curves level off, over-thinking and control against closed forms and simulated bias."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.bench.coverage import made_curves
from evals.budgets import Budget
from evals.stats import Reach, budget_for_share, control_error, overthinking, reach

CELLS = st.sampled_from([0.0, 0.5, 1.0, float("nan")])
BUDGETS: list[Budget] = [128, 256, 512, 1024, 2048, 4096, 8192, "max"]


@pytest.mark.parametrize(
    ("accuracies", "share", "index"),
    [
        ([0.1, 0.5, 0.9, 1.0], 0.9, 2),
        ([0.1, 0.5, 0.9, 1.0], 1.0, 3),
        ([0.3, 0.3, 0.3], 0.99, 0),
        ([0.2, 0.8, 0.6], 0.9, 1),
        ([None, 0.8, None], 0.5, 1),
        ([0.7, 0.1 * 7], 1.0, 0),  # 0.1 * 7 is more than 0.7 by rounding
        ([0.0, 0.0], 0.5, None),
        ([None], 0.5, None),
    ],
)
def test_budget_for_share(accuracies: list[float | None], share: float, index: int | None) -> None:
    budgets: list[Budget] = [2**i for i in range(len(accuracies))]
    assert budget_for_share(budgets, accuracies, share) == index


def test_budget_for_share_bad_values() -> None:
    for share in (0.0, 1.1):
        with pytest.raises(ValueError, match="share"):
            budget_for_share([1], [0.5], share)
    with pytest.raises(ValueError, match="accuracies"):
        budget_for_share([1, 2], [0.5], 0.9)


def test_reach_of_a_steep_curve_is_certain_and_of_a_level_one_is_not() -> None:
    steep = np.repeat([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]], 30, axis=0)
    assert reach(steep, BUDGETS, [0.9, 0.99]) == [Reach(s, 1024, 1024, 1024) for s in (0.9, 0.99)]
    level = np.random.default_rng(0).binomial(1, 0.5, (30, 8)).astype(float)
    found = reach(level, BUDGETS, [0.99])[0]
    assert found is not None
    assert BUDGETS.index(found.high) - BUDGETS.index(found.low) >= 5
    assert reach(level, BUDGETS, [0.99]) == [found]
    assert reach(np.zeros((5, 2)), [1, 2], [0.9]) == [None]
    with pytest.raises(ValueError, match="budgets"):
        reach(level, BUDGETS[:3], [0.9])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, float("nan")]), min_size=4, max_size=4), max_size=10)
)
def test_overthinking_of_any_cells(rows: list[list[float]]) -> None:
    matrix = np.array(rows or [[0.0] * 4])
    estimate = overthinking(matrix, draws=50, repeats=2)
    if estimate is not None:
        assert 0 <= estimate.low <= estimate.mean <= estimate.high <= 1


def test_overthinking_measures_a_loss_and_finds_none_in_a_rise() -> None:
    hump = np.repeat([[0.0, 1.0, 1.0, 0.5]], 40, axis=0)
    loss = overthinking(hump)
    assert loss is not None
    assert loss.mean == 0.5
    assert loss.low == pytest.approx(0.5, abs=0.1)
    rise = overthinking(np.repeat([[0.0, 0.2, 0.6, 1.0]], 40, axis=0))
    assert rise is not None
    assert (rise.mean, rise.low, rise.high) == (0.0, 0.0, 0.0)
    assert overthinking([[0.5]]) is None
    assert overthinking([[0.5, float("nan")]]) is None


def test_choosing_the_peak_does_not_make_a_loss() -> None:
    """On a level curve the plain difference to the peak is well above 0; the cross-fitted one is nearer."""
    rng = np.random.default_rng(0)
    plain, fitted = [], []
    for _ in range(200):
        matrix = made_curves(rng, 30, 1, np.full(8, 0.5))
        curve = matrix.mean(axis=0)
        plain.append(curve.max() - curve[-1])
        estimate = overthinking(matrix, draws=20, repeats=4)
        assert estimate is not None
        fitted.append(estimate.mean)
    assert np.mean(plain) > 0.05
    assert np.mean(fitted) < 0.6 * np.mean(plain)


def test_a_plain_loss_is_estimated_without_bias() -> None:
    """Where the best budget is clear, choosing it costs nothing."""
    rng = np.random.default_rng(1)
    curve = np.array([0.1, 0.9, 0.4])
    found = [overthinking(made_curves(rng, 100, 2, curve), draws=20, repeats=2) for _ in range(200)]
    means = [estimate.mean for estimate in found if estimate is not None]
    assert np.mean(means) == pytest.approx(0.5, abs=4 * np.std(means) / np.sqrt(200))


def test_control_error_closed_form() -> None:
    error = control_error(100, [50, 100, 130])
    assert error is not None
    assert (error.n, error.asked, error.max_used) == (3, 100, 130)
    assert error.mean_used == pytest.approx(280 / 3)
    assert error.over_share == pytest.approx(1 / 3)
    assert error.mean_overshoot == pytest.approx(10)
    assert error.mean_error == pytest.approx(-20 / 3)
    assert error.mean_relative_error == pytest.approx((0.5 + 0 + 0.3) / 3)
    each = control_error([100, 200], [110, 100])
    assert each is not None
    assert each.mean_relative_error == pytest.approx(0.3)
    none = control_error(0, [0, 5])
    assert none is not None
    assert none.mean_relative_error is None
    assert control_error(100, []) is None
    with pytest.raises(ValueError, match="asked"):
        control_error([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="below 0"):
        control_error(10, [-1])
