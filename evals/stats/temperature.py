"""Temperature scaling of confidences, with errors measured on questions that did not set the temperature."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from evals.stats.calibration import checked

# A confidence of exactly 0 or 1 has no logit. One in a thousand is about what a test set can tell from none.
_CLIP = 1e-3
_COLDEST, _HOTTEST = 0.05, 20.0


def fit_temperature(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Temperature T that minimises the negative log-likelihood of `apply_temperature`.

    Guo et al. (2017, arXiv:1706.04599, section 4.2) scale logits; a confidence in (0, 1) has its own,
    log(c/(1-c)), here of confidences clipped to [0.001, 0.999]. The likelihood is concave in 1/T: its
    derivative `sum z (y - sigmoid(z/T))` is bisected, within T from 0.05 to 20. Confidences that do not tell
    right from wrong give 20, those that always do 0.05; 1 if every confidence is 1/2 or there is none.
    """
    c, y = checked(confidence, correct)
    z = _logit(c)
    if not np.any(z):
        return 1.0
    cold, hot = 1 / _COLDEST, 1 / _HOTTEST

    def slope(inverse: float) -> float:
        return float((z * (y - expit(z * inverse))).sum())

    if slope(hot) <= 0:
        return _HOTTEST
    if slope(cold) >= 0:
        return _COLDEST
    for _ in range(60):
        middle = (cold + hot) / 2
        cold, hot = (cold, middle) if slope(middle) > 0 else (middle, hot)
    return 2 / (cold + hot)


def apply_temperature(confidence: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Confidences sigmoid(logit(c)/T), c clipped to [0.001, 0.999]; ValueError unless T > 0."""
    if not temperature > 0:
        raise ValueError(f"temperature: {temperature} is not above 0")
    return expit(_logit(np.asarray(confidence, dtype=float)) / temperature)


def cross_fitted_confidence(
    confidence: ArrayLike,
    correct: ArrayLike,
    questions: Sequence[Hashable] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Each sample's confidence at the temperature fitted on the other folds.

    Give it to `expected_calibration_error` for an error after scaling that was not fitted on itself. Folds
    are of whole questions, the samples of one share a fold. Fewer than two questions keep their confidences.
    """
    c, y = checked(confidence, correct)
    labels = range(len(c)) if questions is None else questions
    number = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    if len(number) < 2:
        return c
    fold_of = np.random.default_rng(seed).permutation(len(number)) % min(folds, len(number))
    fold = fold_of[[number[label] for label in labels]]
    tempered = np.empty(len(c))
    for index in np.unique(fold):
        inside = fold == index
        tempered[inside] = apply_temperature(c[inside], fit_temperature(c[~inside], y[~inside]))
    return tempered


def _logit(c: NDArray[np.float64]) -> NDArray[np.float64]:
    return logit(np.clip(c, _CLIP, 1 - _CLIP))
