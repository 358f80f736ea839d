"""Statistics of budget curves, as pure functions: each states its formula and where it is from.

Questions, not samples, are the independent units: several samples of one question are a cluster.
What is not defined is None, never NaN. Everything random takes a seed.
"""

from evals.stats.calibration import (
    Brier,
    CalibrationBin,
    brier,
    calibration_bins,
    calibration_gaps,
    expected_calibration_error,
    noise_floor,
)
from evals.stats.control import ControlError, control_error
from evals.stats.curve import (
    CurveBands,
    area_difference,
    area_estimate,
    area_under_curve,
    curve_bands,
    difference_bands,
    flip_rate,
    log_axis,
    monotone,
)
from evals.stats.discrimination import RiskCoverage, auroc, risk_coverage
from evals.stats.entropy import (
    answer_entropy,
    forking_threshold,
    mean_entropy,
    token_entropies,
    token_entropy,
)
from evals.stats.paired import (
    benjamini_hochberg,
    holm,
    mcnemar_exact,
    minimum_detectable_effect,
    paired_difference,
    sign_flip_test,
)
from evals.stats.passk import g_pass_at_k, majority_at_k, mean_g_pass_at_k, pass_at_k, pass_hat_k
from evals.stats.peak import Reach, budget_for_share, overthinking, reach
from evals.stats.proportions import (
    Estimate,
    clustered_proportion,
    decoding_interval,
    mean_of_questions,
    wilson_interval,
)
from evals.stats.temperature import apply_temperature, cross_fitted_confidence, fit_temperature

__all__ = [
    "Brier",
    "CalibrationBin",
    "ControlError",
    "CurveBands",
    "Estimate",
    "Reach",
    "RiskCoverage",
    "answer_entropy",
    "apply_temperature",
    "area_difference",
    "area_estimate",
    "area_under_curve",
    "auroc",
    "benjamini_hochberg",
    "brier",
    "budget_for_share",
    "calibration_bins",
    "calibration_gaps",
    "clustered_proportion",
    "control_error",
    "cross_fitted_confidence",
    "curve_bands",
    "decoding_interval",
    "difference_bands",
    "expected_calibration_error",
    "fit_temperature",
    "flip_rate",
    "forking_threshold",
    "g_pass_at_k",
    "holm",
    "log_axis",
    "majority_at_k",
    "mcnemar_exact",
    "mean_entropy",
    "mean_g_pass_at_k",
    "mean_of_questions",
    "minimum_detectable_effect",
    "monotone",
    "noise_floor",
    "overthinking",
    "paired_difference",
    "pass_at_k",
    "pass_hat_k",
    "reach",
    "risk_coverage",
    "sign_flip_test",
    "token_entropies",
    "token_entropy",
    "wilson_interval",
]
