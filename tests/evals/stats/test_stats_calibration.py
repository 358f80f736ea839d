"""Calibration errors, Brier's parts and temperatures against published values, loops and optimisers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy.special import expit, logit

from evals.stats import (
    apply_temperature,
    brier,
    calibration_bins,
    clustered_proportion,
    cross_fitted_confidence,
    expected_calibration_error,
    fit_temperature,
    noise_floor,
    wilson_interval,
)
from evals.stats.calibration import Scheme

SCHEMES: tuple[Scheme, ...] = ("width", "mass")
SAMPLES = st.lists(
    st.tuples(st.integers(0, 20).map(lambda x: x / 20), st.booleans()), min_size=1, max_size=40
)


def apart(samples: list[tuple[float, bool]]) -> tuple[list[float], list[float]]:
    return [c for c, _ in samples], [float(y) for _, y in samples]


@settings(deadline=None)
@given(SAMPLES, st.integers(1, 12))
def test_ece_is_guos_formula(samples: list[tuple[float, bool]], bins: int) -> None:
    """Bin m holds confidences in ((m-1)/M, m/M], the first 0 as well."""
    confidence, correct = apart(samples)
    error = 0.0
    for m in range(bins):
        inside = [(c, y) for c, y in samples if m / bins < c <= (m + 1) / bins or (m == 0 and c == 0)]
        if inside:
            gap = np.mean([y for _, y in inside]) - np.mean([c for c, _ in inside])
            error += len(inside) / len(samples) * abs(gap)
    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(error)


@settings(deadline=None)
@given(SAMPLES, st.integers(1, 12), st.sampled_from(SCHEMES))
def test_bins_hold_every_sample_once_and_sum_to_the_error(
    samples: list[tuple[float, bool]], bins: int, scheme: Scheme
) -> None:
    confidence, correct = apart(samples)
    found = calibration_bins(confidence, correct, bins, scheme)
    assert sum(b.n for b in found) == len(samples)
    assert len(found) <= bins
    gaps = sum(b.n * abs(b.accuracy - b.confidence) for b in found) / len(samples)
    assert expected_calibration_error(confidence, correct, bins, scheme) == pytest.approx(gaps)
    for b in found:
        assert b.low - 1e-9 <= b.confidence <= b.high + 1e-9
        assert (b.accuracy_low, b.accuracy_high) == wilson_interval(round(b.accuracy * b.n), b.n)
    assert all(a.high <= b.low for a, b in pairwise(found))


def test_equal_masses_hold_equal_numbers_and_keep_ties_together() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.permutation(np.arange(100) / 100)
    found = calibration_bins(confidence, rng.integers(0, 2, 100), 10, "mass")
    assert [b.n for b in found] == [10] * 10
    ties = calibration_bins([0.9] * 50 + [0.1, 0.2, 0.3], [1.0] * 53, 10, "mass")
    assert [b.n for b in ties] == [3, 50]


def test_intervals_of_bins_know_the_questions() -> None:
    confidence, correct = [0.85] * 40, [1.0] * 20 + [0.0] * 20
    questions = [i // 4 for i in range(40)]
    (found,) = calibration_bins(confidence, correct, questions=questions)
    share = clustered_proportion({str(q): [float(q < 5)] * 4 for q in range(10)})
    assert share is not None
    assert (found.accuracy_low, found.accuracy_high) == (share.low, share.high)


@pytest.mark.parametrize(
    ("n", "width", "mass"),
    [(30, 0.165, 0.205), (100, 0.094, 0.110), (500, 0.042, 0.049), (1500, 0.025, 0.028)],
)
def test_noise_floor_of_beta_confidences(n: int, width: float, mass: float) -> None:
    """Against an independent simulation: confidences from Beta(4, 2), 10 bins, perfectly calibrated."""
    rng = np.random.default_rng(0)
    for scheme, value in zip(SCHEMES, (width, mass), strict=True):
        floors = [noise_floor(rng.beta(4, 2, n), 10, scheme, draws=200, seed=i) or 0 for i in range(20)]
        assert np.mean(floors) == pytest.approx(value, abs=0.005)


def test_noise_floor_is_the_mean_error_of_drawn_answers() -> None:
    rng = np.random.default_rng(0)
    confidence = np.round(rng.random(60), 1)
    drawn = [expected_calibration_error(confidence, rng.random(60) < confidence) or 0 for _ in range(3000)]
    floor = noise_floor(confidence, draws=3000)
    assert floor == pytest.approx(np.mean(drawn), abs=0.003)
    assert floor == noise_floor(confidence, draws=3000)
    assert noise_floor([0.0, 1.0, 1.0]) == 0.0
    assert noise_floor([]) is expected_calibration_error([], []) is brier([], []) is None


@settings(deadline=None)
@given(SAMPLES, st.integers(1, 12), st.sampled_from(SCHEMES))
def test_the_parts_of_brier_add_up(samples: list[tuple[float, bool]], bins: int, scheme: Scheme) -> None:
    confidence, correct = apart(samples)
    parts = brier(confidence, correct, bins, scheme)
    assert parts is not None
    assert parts.score == pytest.approx(np.mean([(c - y) ** 2 for c, y in samples]))
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bin
    assert parts.score == pytest.approx(total, abs=1e-12)


def test_murphys_parts_of_equal_confidences() -> None:
    """Three right of four at 0.8, one of four at 0.4: closed form, and nothing within bins."""
    parts = brier([0.8] * 4 + [0.4] * 4, [1, 1, 1, 0, 1, 0, 0, 0])
    assert parts is not None
    assert parts.reliability == pytest.approx((0.05**2 + 0.15**2) / 2)
    assert parts.resolution == pytest.approx(0.25**2)
    assert parts.uncertainty == 0.25
    assert parts.within_bin == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_temperature_is_found_and_is_the_optimisers(true: float) -> None:
    rng = np.random.default_rng(0)
    confidence = np.clip(rng.beta(2, 1, 20_000), 0.001, 0.999)
    correct = rng.random(20_000) < expit(logit(confidence) / true)
    found = fit_temperature(confidence, correct)
    assert found == pytest.approx(true, rel=0.06)

    def loss(log_t: float) -> float:
        p = apply_temperature(confidence, float(np.exp(log_t)))
        return -float(np.where(correct, np.log(p), np.log1p(-p)).mean())

    best = optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-8})
    assert found == pytest.approx(float(np.exp(best.x)), rel=1e-4)
    cooled = expected_calibration_error(apply_temperature(confidence, found), correct)
    floor = noise_floor(confidence, draws=100)
    assert cooled is not None
    assert floor is not None
    assert cooled < 3 * floor


def test_temperatures_of_degenerate_confidences() -> None:
    assert fit_temperature([], []) == 1.0
    assert fit_temperature([0.5, 0.5], [0, 1]) == 1.0
    assert fit_temperature([0.9, 0.8], [1, 1]) == 0.05
    assert fit_temperature([0.9, 0.8], [0, 0]) == 20.0
    assert apply_temperature([0.0, 0.5, 1.0], 1.0).tolist() == pytest.approx([0.001, 0.5, 0.999])
    with pytest.raises(ValueError, match="temperature"):
        apply_temperature([0.5], 0.0)


def test_cross_fitting_keeps_questions_together() -> None:
    """Each fold has the temperature of the others, by whole questions."""
    rng = np.random.default_rng(0)
    confidence = rng.beta(4, 2, 200)
    correct = rng.random(200) < 0.5
    questions = [i // 4 for i in range(200)]
    tempered = cross_fitted_confidence(confidence, correct, questions, folds=50, seed=1)
    for question in (0, 17):
        inside = np.array(questions) == question
        other = fit_temperature(confidence[~inside], correct[~inside])
        assert tempered[inside] == pytest.approx(apply_temperature(confidence[inside], other))
    assert cross_fitted_confidence([0.7], [1]).tolist() == [0.7]
    alone = cross_fitted_confidence([0.7, 0.9], [1, 0])
    assert alone[0] == pytest.approx(apply_temperature([0.7], 20.0)[0])
    assert alone[1] == pytest.approx(apply_temperature([0.9], 0.05)[0])


def test_bad_confidences() -> None:
    for confidence, correct, name in (
        ([1.1], [1], "confidence"),
        ([float("nan")], [1], "confidence"),
        ([0.5], [0.5], "correct"),
        ([0.5, 0.5], [1], "shapes"),
    ):
        with pytest.raises(ValueError, match=name):
            expected_calibration_error(confidence, correct)
    with pytest.raises(ValueError, match="bins"):
        expected_calibration_error([0.5], [1], bins=0)
    with pytest.raises(ValueError, match="scheme"):
        expected_calibration_error([0.5], [1], scheme="size")  # type: ignore[arg-type]
