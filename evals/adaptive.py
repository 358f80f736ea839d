"""Sample until the interval at every budget is narrow enough: rounds that double the work, then a look.

First the problems are doubled, up to what the sets hold or `max_problems` of each, then the samples: problems
narrow both parts of the variance, samples only the noise of decoding.

Stopping when an interval looks narrow enough favours moments when its estimated variance came out low, so
that the interval at the end covers less than it says. Two things keep this small: looks are few, as each
doubles the work, and Wilson's limits keep a width even where the estimated variance is zero. Simulated with
this rule (`tests/evals/test_adaptive.py`), 95 % intervals cover at least 93.5 % at accuracies from 5 to 95 %.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, variance

from evals.budgets import Budget
from evals.problems import load, parse_selectors
from evals.stats import clustered_proportion
from evals.summary.outcomes import outcomes
from evals.summary.replies import read_run
from evals.sweep.run import SweepResult, run_sweep
from evals.sweep.settings import SweepSettings

FIRST_PROBLEMS = 32
Z = 1.96

Graded = Mapping[str, Sequence[float]]
"""Ones and zeros of each problem's samples at one budget."""


@dataclass(frozen=True, slots=True)
class Adaptive:
    """When to stop: every 95 % interval narrower than `width` (high less low, of shares), or no more to draw.

    max_samples: of each problem and budget. max_problems: of each set, None for all it holds.
    Raises ValueError naming the field that is wrong.
    """

    width: float
    max_samples: int = 16
    max_problems: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.width < 1:
            raise ValueError(
                f"until_width: {self.width} is no width of an interval of shares; give e.g. 0.05"
            )
        for name in ("max_samples", "max_problems"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: {value} is too few; give 1 or more")


@dataclass(frozen=True, slots=True)
class Precision:
    """How well a budget's accuracy is known.

    width: of its 95 % interval. floor: about what it would be with samples without end of the same problems.
    problems: about how many problems would make it narrow enough.
    """

    budget: Budget
    width: float
    floor: float
    problems: int


def precision(budget: Budget, graded: Graded, wanted: float) -> Precision:
    """The precision of one budget with replies; ValueError without any.

    The variance of a mean over n problems is (V + W/K)/n: V between problems, W of decoding, K samples a
    problem. W is the mean variance within problems and V that of the problems' means less W/K, at least 0;
    with one sample a problem W cannot be told from V, and the floor is 0.
    """
    estimate = clustered_proportion(graded)
    if estimate is None:
        raise ValueError(f"budgets: {budget} has no reply, so its interval cannot be narrowed")
    width = estimate.high - estimate.low
    groups = [values for values in graded.values() if values]
    floor = 0.0
    within = [variance(values) for values in groups if len(values) > 1]
    if within and len(groups) > 1:
        noise = fmean(within) / fmean(len(values) for values in groups)
        between = max(0.0, variance([fmean(values) for values in groups]) - noise)
        floor = min(width, 2 * Z * math.sqrt(between / len(groups)))
    return Precision(budget, width, floor, math.ceil(len(groups) * (width / wanted) ** 2))


def wide(points: Sequence[Precision], width: float) -> list[Precision]:
    """The budgets that are not known well enough."""
    return [point for point in points if point.width >= width]


def can_samples_help(points: Sequence[Precision], width: float) -> bool:
    """Whether more samples of the same problems could make one of the wide budgets narrow enough."""
    return any(point.floor < width for point in wide(points, width))


def verdict(points: Sequence[Precision], width: float, more_samples: bool) -> list[str]:
    """Why sampling stopped, in words: one line for each budget that stayed wide.

    more_samples: whether the number of samples could still have been raised.
    """
    still = wide(points, width)
    if not still:
        return [f"every 95 % interval is narrower than {width:g}"]
    lines = []
    for point in still:
        line = f"budget {point.budget}: the 95 % interval is {point.width:.3f} wide, {width:g} was asked; "
        if point.floor >= width:
            line += (
                f"more samples cannot narrow it below about {point.floor:.3f}, as the problems differ; "
                f"about {point.problems} problems would"
            )
        elif more_samples:
            line += f"give more --max-samples, or about {point.problems} problems"
        else:
            line += f"greedy replies cannot be sampled again; about {point.problems} problems would do"
        lines.append(line)
    return lines


def run_adaptive(
    settings: SweepSettings,
    adaptive: Adaptive,
    base_urls: str | Sequence[str],
    model: str | None = None,
    api_key: str | None = None,
    say: Callable[[str], None] = print,
) -> SweepResult:
    """`evals.sweep.run.run_sweep` in rounds. Raises what it raises.

    settings.limit is the first round's problems of each set (32), settings.samples its samples. The same call
    resumes: rounds that are stored draw nothing, and come to the same decisions.
    """
    if settings.samples > adaptive.max_samples:
        raise ValueError(
            f"samples: {settings.samples} of the first round are more than the most, "
            f"{adaptive.max_samples}; raise --max-samples"
        )
    largest = _largest_set(settings, adaptive.max_problems)
    limit = min(settings.limit or FIRST_PROBLEMS, largest)
    samples = settings.samples
    most_samples = 1 if settings.sampling.greedy else adaptive.max_samples
    replies = tokens = over_budget = 0
    while True:
        current = replace(settings, limit=limit, samples=samples)
        result = run_sweep(current, base_urls, model, api_key)
        replies += result.replies
        tokens += result.generated_tokens
        over_budget += result.over_budget
        points = precisions(current, adaptive.width)
        still = wide(points, adaptive.width)
        widest = max(point.width for point in points)
        say(
            f"{limit} problems a set x {samples} samples: widest 95 % interval {widest:.3f}, "
            f"{len(still)} of {len(points)} budgets not narrower than {adaptive.width:g}"
        )
        if still and limit < largest:
            limit = min(2 * limit, largest)
        elif still and samples < most_samples and can_samples_help(points, adaptive.width):
            samples = min(2 * samples, most_samples)
        else:
            break
    for line in verdict(points, adaptive.width, more_samples=not settings.sampling.greedy):
        say(line)
    return replace(result, replies=replies, generated_tokens=tokens, over_budget=over_budget)


def precisions(settings: SweepSettings, width: float) -> list[Precision]:
    """The precision of every budget, from the problems and samples that `settings` name: no later round's."""
    problems = {problem.id for problem in load(settings.problem_sets, limit=settings.limit)}
    graded: dict[Budget, dict[str, list[float]]] = {budget: {} for budget in settings.budgets}
    for outcome in outcomes(read_run(settings.out)):
        if outcome.problem in problems and outcome.sample < settings.samples and outcome.budget in graded:
            graded[outcome.budget].setdefault(outcome.problem, []).append(float(outcome.correct))
    return [precision(budget, values, width) for budget, values in graded.items()]


def _largest_set(settings: SweepSettings, most: int | None) -> int:
    """Problems of the largest set, at most `most`: beyond that, a higher limit adds nothing."""
    return max(len(load(str(spec), limit=most)) for spec in parse_selectors(settings.problem_sets))
