"""Are confidences probabilities? Binned errors with their noise floor, the Brier score and its parts."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evals.stats.proportions import clustered_proportion, wilson_interval

Scheme = Literal["width", "mass"]

_CHUNK = 1 << 22  # simulated answers held at once


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The samples with confidence in (low, high]; the first bin of equal widths also holds 0.

    `low` and `high` are the bin's edges in equal widths, its smallest and largest confidence in equal masses.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


@dataclass(frozen=True, slots=True)
class Brier:
    """Brier score and its parts: `score = reliability - resolution + uncertainty + within_bin`."""

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bin: float


def calibration_bins(
    confidence: ArrayLike,
    correct: ArrayLike,
    bins: int = 10,
    scheme: Scheme = "width",
    questions: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> list[CalibrationBin]:
    """The bins of a reliability diagram that hold samples, with intervals of their accuracies.

    `scheme` "width" divides [0, 1] evenly; "mass" puts about as many samples in each bin, and equal
    confidences always in the same one. With `questions`, the question of each sample, intervals are
    clustered. Raises ValueError unless confidences are in [0, 1], correct is 0 or 1, and there are as many of
    each.
    """
    c, y = checked(confidence, correct)
    places = _places(c, bins, scheme)
    found = []
    for place in np.unique(places):
        inside = places == place
        n, right = int(inside.sum()), float(y[inside].sum())
        if questions is None:
            limits = wilson_interval(right, n, level)
        else:
            clusters: dict[str, list[float]] = {}
            for index in np.flatnonzero(inside):
                clusters.setdefault(str(questions[index]), []).append(float(y[index]))
            estimate = clustered_proportion(clusters, level)
            assert estimate is not None  # the bin holds samples
            limits = estimate.low, estimate.high
        if scheme == "width":
            low, high = place / bins, (place + 1) / bins
        else:
            low, high = c[inside].min(), c[inside].max()
        found.append(CalibrationBin(float(low), float(high), n, float(c[inside].mean()), right / n, *limits))
    return found


def expected_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 10, scheme: Scheme = "width"
) -> float | None:
    """`sum_m n_m/N |accuracy_m - confidence_m|` over bins (Guo et al. 2017, arXiv:1706.04599, equation 3).

    Equal masses have less bias (Roelofs et al. 2020, arXiv:2012.08668). It is above 0 for perfect confidences
    too: print `noise_floor` beside it. None without samples.
    """
    c, y = checked(confidence, correct)
    if not c.size:
        return None
    return float(np.abs(np.bincount(_places(c, bins, scheme), weights=y - c)).sum() / c.size)


def calibration_gaps(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 10, scheme: Scheme = "width"
) -> NDArray[np.float64]:
    """What each sample adds to the expected calibration error: their mean is that error.

    It is `s (y - c)`, with s the sign of `accuracy - confidence` of the sample's bin. With the signs held
    fixed the error is a mean, whose variance is that of these gaps; near calibration, where signs are chance,
    their mean is above 0 as the error itself is (`noise_floor`).
    """
    c, y = checked(confidence, correct)
    places = _places(c, bins, scheme)
    return np.sign(np.bincount(places, weights=y - c))[places] * (y - c) if c.size else y


def noise_floor(
    confidence: ArrayLike, bins: int = 10, scheme: Scheme = "width", draws: int = 1000, seed: int = 0
) -> float | None:
    """Mean expected calibration error of perfect confidences: each answer right with its own confidence.

    Brocker and Smith (2007, Weather and Forecasting 22) call it consistency resampling. Answers are drawn
    independently, given the confidences. None without samples.
    """
    c, _ = checked(confidence, np.zeros(np.shape(confidence)))
    if not c.size:
        return None
    rng = np.random.default_rng(seed)
    places = _places(c, bins, scheme)
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.diff(places[order], prepend=-1))
    c = c[order].astype(np.float32)
    total, left = 0.0, draws
    while left:
        rows = min(left, max(1, _CHUNK // c.size))
        gaps = (rng.random((rows, c.size), dtype=np.float32) < c) - c
        total += float(np.abs(np.add.reduceat(gaps, starts, axis=1)).sum(dtype=float)) / c.size
        left -= rows
    return total / draws


def brier(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 10, scheme: Scheme = "width"
) -> Brier | None:
    """Brier score `mean (c - y)^2` with its parts over bins (Murphy 1973, Journal of Applied Meteorology 12).

    Murphy's three parts add up when a bin's confidences are equal. Otherwise the variance of confidence
    within bins, less twice its covariance with being right, remains (Stephenson, Coelho and Jolliffe 2008,
    Weather and Forecasting 23); it is `within_bin`. None without samples.
    """
    c, y = checked(confidence, correct)
    n = c.size
    if not n:
        return None
    places = _places(c, bins, scheme)
    counts = np.bincount(places)
    used = counts > 0
    mean_c = np.bincount(places, weights=c) / np.maximum(counts, 1)
    mean_y = np.bincount(places, weights=y) / np.maximum(counts, 1)
    base = float(y.mean())
    deviation_c, deviation_y = c - mean_c[places], y - mean_y[places]
    return Brier(
        score=float(((c - y) ** 2).mean()),
        reliability=float((counts * (mean_c - mean_y) ** 2).sum() / n),
        resolution=float((counts * np.where(used, mean_y - base, 0.0) ** 2).sum() / n),
        uncertainty=base * (1 - base),
        within_bin=float((deviation_c**2 - 2 * deviation_c * deviation_y).mean()),
    )


def checked(confidence: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as one-dimensional floats; ValueError unless in [0, 1], 0 or 1, and of one length."""
    c, y = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    if c.ndim != 1 or c.shape != y.shape:
        raise ValueError(f"confidence, correct: shapes {c.shape} and {y.shape}; give one of each a sample")
    if not bool(((c >= 0) & (c <= 1)).all()):
        raise ValueError("confidence: a value is NaN or outside 0 to 1; leave out samples without confidence")
    if not bool(((y == 0) | (y == 1)).all()):
        raise ValueError("correct: a value is neither 0 nor 1")
    return c, y


def _places(c: NDArray[np.float64], bins: int, scheme: Scheme) -> NDArray[np.intp]:
    """The bin of each confidence."""
    if bins < 1:
        raise ValueError(f"bins: {bins}; give at least 1")
    if scheme == "width":
        return np.searchsorted(np.arange(1, bins) / bins, c, side="left")
    if scheme == "mass":
        # By the middle of the ranks that equal confidences share, so that ties stay together.
        ranks = np.sort(c)
        middle = np.searchsorted(ranks, c, "left") + np.searchsorted(ranks, c, "right")
        return np.minimum(bins * middle // (2 * max(c.size, 1)), bins - 1)
    raise ValueError(f'scheme: {scheme!r} is not known; give "width" or "mass"')
