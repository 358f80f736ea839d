"""Statistics of budget curves, as pure functions: each states its formula and where it is from.

Questions, not samples, are the independent units: several samples of one question are a cluster.
"""

from evals.stats.paired import paired_difference
from evals.stats.proportions import Estimate, clustered_proportion, wilson_interval

__all__ = ["Estimate", "clustered_proportion", "paired_difference", "wilson_interval"]
