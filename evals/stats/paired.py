"""Differences between two runs on the same questions: intervals, tests, many tests at once, power."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, harmonic_mean

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtr, stdtrit

from evals.stats.proportions import Estimate, normal_quantile

_EXACT_SIGN_FLIPS = 16  # differences whose 2^n signs are enumerated
_CHUNK = 1 << 22  # random signs held at once


def paired_difference(
    first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]], confidence: float = 0.95
) -> Estimate | None:
    """Mean of `second - first` over the questions both hold.

    Each question gives one difference of its means, d_q; SE = sd(d_q)/sqrt(n). Pairing by question removes
    the questions' difficulty from the variance (Miller 2024, arXiv:2411.00640, section 4.2). For the limits
    see `difference_limits`. None without a common question; with one only, the limits are -1 and 1.
    """
    common = [q for q in first if q in second and len(first[q]) and len(second[q])]
    if not common:
        return None
    differences = np.array([fmean(second[q]) - fmean(first[q]) for q in common])
    samples = harmonic_mean([min(len(first[q]), len(second[q])) for q in common])
    se = float(differences.std(ddof=1)) / math.sqrt(len(common)) if len(common) > 1 else None
    low, high = difference_limits(differences[:, None], 1 / samples, normal_quantile(confidence))
    return Estimate(len(common), len(common), float(differences.mean()), se, float(low[0]), float(high[0]))


def difference_limits(
    differences: NDArray[np.float64], step: float, z: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Limits of the mean of each column of [questions, columns] differences in [-1, 1]; NaN is missing.

    `step` is the least change of one question, 1 over its number of samples; `z` the normal quantile.
    Differences of single samples are -1, 0 or 1: the limits are Bonett and Price's (2012, "Adjusted Wald
    confidence interval for a difference of binomial proportions based on paired data", Journal of Educational
    and Behavioral Statistics 37), `d' +- z sqrt(((b + c + 2)/(n + 2) - d'^2)/(n + 2))` with
    d' = (c - b)/(n + 2). Otherwise they are Student's t with `step^2` added to the sum of squares: half a
    question that gains one sample and half one that loses it, so that equal runs do not prove equality.
    Fewer than two differences give -1 and 1.
    """
    present = ~np.isnan(differences)
    d = np.where(present, differences, 0.0)
    n = present.sum(axis=0).astype(float)
    some = np.maximum(n, 2.0)
    if step == 1 and bool(np.isin(d, (-1.0, 0.0, 1.0)).all()):
        centre = d.sum(axis=0) / (some + 2)
        half = z * np.sqrt((((d**2).sum(axis=0) + 2) / (some + 2) - centre**2) / (some + 2))
    else:
        centre = d.sum(axis=0) / some
        squares = (np.where(present, d - centre, 0.0) ** 2).sum(axis=0) + step**2
        half = stdtrit(some - 1, ndtr(z)) * np.sqrt(squares / (some * (some - 1)))
    low, high = np.clip(centre - half, -1.0, 1.0), np.clip(centre + half, -1.0, 1.0)
    return np.where(n < 2, -1.0, low), np.where(n < 2, 1.0, high)


def sign_flip_test(differences: ArrayLike, seed: int = 0, permutations: int = 10_000) -> float:
    """Two-sided p-value that paired differences are symmetric about 0: |sum| under random signs.

    Fisher (1935), "The design of experiments", section 21. All signs are enumerated for up to 16 differences
    that are not 0; else `permutations` random ones, p = (1 + as extreme)/(1 + permutations) (Phipson and
    Smyth 2010, SAGMB 9), which never is 0. Raises ValueError for NaN or no differences.
    """
    d = np.asarray(differences, dtype=float)
    if d.size == 0 or np.isnan(d).any():
        raise ValueError(f"differences: {d.size} values, with NaN or none; give one difference a question")
    d = d[d != 0]
    # Sums that differ by rounding only are equal.
    observed = abs(float(d.sum())) - 1e-9 * float(np.abs(d).sum())
    if len(d) <= _EXACT_SIGN_FLIPS:
        sums = np.zeros(1)
        for value in d:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= observed).mean())
    rng = np.random.default_rng(seed)
    extreme, left = 0, permutations
    while left:
        rows = min(left, max(1, _CHUNK // len(d)))
        signs = rng.integers(0, 2, (rows, len(d)), dtype=np.int8)
        sums = 2 * (signs @ d) - d.sum()
        extreme += int((np.abs(sums) >= observed).sum())
        left -= rows
    return (1 + extreme) / (1 + permutations)


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact p-value of McNemar's test: `b` pairs changed one way, `c` the other.

    Twice the smaller tail of Binomial(b + c, 1/2), at most 1 (McNemar 1947, Psychometrika 12). Raises
    ValueError for negative counts.
    """
    if b < 0 or c < 0:
        raise ValueError(f"b, c: {b}, {c} include a negative count; give numbers of discordant pairs")
    return min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the chance of any false rejection (Holm 1979, Scand. J. Statistics 6)."""
    p = _p_values(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the expected share of false rejections (JRSS B 57, 1995)."""
    p = _p_values(p_values)
    order = np.argsort(p, kind="stable")[::-1]
    stepped = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()


def minimum_detectable_effect(
    se: float, degrees: float | None, power: float = 0.8, alpha: float = 0.05
) -> float:
    """True difference that a two-sided t test at level `alpha` finds with probability `power`.

    `(t_{1 - alpha/2} + t_power) * se` with `degrees` of freedom, None for many (Bloom 1995, Evaluation Review
    19). Raises ValueError for values outside their ranges.
    """
    if not (se >= 0 and 0 < power < 1 and 0 < alpha < 1) or (degrees is not None and degrees < 1):
        raise ValueError(
            f"se={se}, degrees={degrees}, power={power}, alpha={alpha}: se >= 0, degrees >= 1 and "
            "probabilities between 0 and 1 are right"
        )
    many = math.inf if degrees is None else degrees
    return float(stdtrit(many, 1 - alpha / 2) + stdtrit(many, power)) * se


def _p_values(p_values: Sequence[float]) -> NDArray[np.float64]:
    p = np.asarray(p_values, dtype=float)
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise ValueError(f"p_values: {list(p_values)} are not all between 0 and 1")
    return p
