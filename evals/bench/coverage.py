"""Coverage of every interval in `evals.stats`, by simulation: how often do 95 % intervals hold the truth?

    python -m evals.bench.coverage --runs 2000 --out runs/bench

Made questions have probabilities drawn from Beta distributions with intraclass correlation `icc`: 0.05 is
questions nearly alike, 0.6 most of them nearly always right or wrong. Curves are made as forked sweeps are:
a question's probabilities at all budgets are the same quantile of each budget's distribution, and samples
at different budgets are alike. The status is 1 if a coverage is outside 93-97 % (for intervals that promise
at least 95 %: below 93 %) by more than the simulation's own error.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr
from scipy.stats import binom

from evals.stats import (
    Estimate,
    area_difference,
    area_estimate,
    area_under_curve,
    auroc,
    clustered_proportion,
    curve_bands,
    decoding_interval,
    difference_bands,
    log_axis,
    mean_entropy,
    mean_of_questions,
    overthinking,
    paired_difference,
    pass_at_k,
    reach,
    wilson_interval,
)
from serve.bench.results import Figure, write_result

Generator = np.random.Generator
Interval = tuple[float, float]
Matrix = NDArray[np.float64]
Maker = Callable[[Generator], Matrix]
Trial = Callable[[Generator], bool | None]

LOW, HIGH = 0.93, 0.97
BUDGETS = [64 * 2**i for i in range(8)]
CURVES = {
    "rising 0.05-0.9": 0.05 + 0.85 * np.linspace(0, 1, 8) ** 0.7,
    "level 0.05": np.full(8, 0.05),
    "level 0.95": np.full(8, 0.95),
    "humped, loses 0.15": np.array([0.1, 0.3, 0.5, 0.65, 0.6, 0.55, 0.5, 0.5]),
}
_DRAWS = 500  # of a bootstrap within a simulation
_STRATA = 20_000  # kinds of questions along a curve's distributions


@dataclass(frozen=True, slots=True)
class Case:
    """One interval in one setting; `trial` draws data and says whether the interval holds the truth, or None
    where it is not defined. `least`: more coverage than 97 % is by design."""

    interval: str
    setting: str
    trial: Trial
    least: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Coverage over the `runs` trials with an interval, and the standard error of that simulation."""

    interval: str
    setting: str
    runs: int
    coverage: float
    error: float
    holds: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0 if every interval keeps its promise."""
    parser = argparse.ArgumentParser(prog="python -m evals.bench.coverage", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--runs", type=int, default=2000, help="data sets drawn for each row")
    parser.add_argument("--only", default="", help="rows whose 'interval: setting' holds this")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="directory for coverage.json")
    options = parser.parse_args(argv)
    rows = []
    print(f"| {'interval':38} | {'setting':48} | coverage % | +- |  |\n|---|---|---:|---:|---|")
    for case in cases():
        if options.only in f"{case.interval}: {case.setting}":
            row = coverage(case, options.runs, options.seed)
            rows.append(row)
            mark = "" if row.holds else "outside"
            print(
                f"| {row.interval:38} | {row.setting:48} | {100 * row.coverage:5.1f} | {100 * row.error:.1f} "
                f"| {mark} |",
                flush=True,
            )
    if options.out:
        held = sum(row.holds for row in rows)
        figures = [Figure("intervals that keep their 95 %", f"{held} of {len(rows)} settings")]
        write_result(options.out, "coverage", {"rows": [asdict(row) for row in rows]}, figures=figures)
    return 0 if all(row.holds for row in rows) else 1


def coverage(case: Case, runs: int, seed: int = 0) -> Row:
    """Share of trials whose interval holds the truth; it holds its promise within three standard errors."""
    rng = np.random.default_rng([seed, *case.interval.encode(), *case.setting.encode()])
    held = [hit for hit in (case.trial(rng) for _ in range(runs)) if hit is not None]
    share = float(np.mean(held))
    error = float(np.sqrt(share * (1 - share) / len(held)))
    most = 1.0 if case.least else HIGH
    holds = LOW - 3 * error <= share <= most + 3 * error
    return Row(case.interval, case.setting, len(held), share, error, holds)


def exact_wilson_coverage(n: int, p: float) -> float:
    """Coverage of Wilson's interval for n independent samples, summed over the binomial distribution."""
    hits = [low <= p <= high for low, high in (wilson_interval(x, n) for x in range(n + 1))]
    return float(binom.pmf(np.arange(n + 1), n, p) @ np.array(hits))


def cases() -> Iterator[Case]:
    """Every interval in the settings that are hard for it."""
    for p in (0.05, 0.5, 0.95):
        yield Case("share, K=1", f"n=30 p={p}", _share(30, 1, p, 0.3))
    for p in (0.05, 0.5, 0.95):
        for icc in (0.05, 0.3, 0.6):
            yield Case("share, K=8", f"n=30 p={p} icc={icc}", _share(30, 8, p, icc))
    yield Case("share, K=8", "n=10 p=0.5 icc=0.3", _share(10, 8, 0.5, 0.3))
    yield Case("share, K=64", "n=30 p=0.05 icc=0.6", _share(30, 64, 0.05, 0.6))
    yield Case("share, K unequal 1-16", "n=60 p=0.5 icc=0.4", _share_unequal(60, 0.5, 0.4))
    yield Case("share, K unequal 1-16", "n=60 p=0.1 icc=0.4", _share_unequal(60, 0.1, 0.4))
    for p in (0.05, 0.5, 0.95):
        yield Case("these questions only, K=8", f"n=30 p={p} icc=0.3", _decoding(30, 8, p, 0.3))
    yield Case("pass@4 of 8", "n=30 p=0.3 icc=0.4", _pass_at(30, 8, 4, 0.3, 0.4))
    yield Case("answer entropy, K=8", "n=30, 3 answers", _entropy(30, 8))
    for samples in (1, 8):
        for p, gain in ((0.05, 0.0), (0.05, 0.2), (0.5, 0.0), (0.5, 0.2), (0.95, 0.0)):
            rare = samples == 1 and gain == 0 and p != 0.5  # few questions differ; the interval is wide
            setting = f"n=30 p={p} gain={gain} icc=0.3"
            yield Case(f"paired difference, K={samples}", setting, _paired(30, samples, p, gain, 0.3), rare)
    for questions, samples in ((30, 1), (30, 8), (100, 1)):
        for name, curve in CURVES.items():
            setting = f"n={questions} K={samples} {name}"
            make = _maker(questions, samples, curve)
            rare = samples == 1 and name.startswith("level")
            yield Case("curve, pointwise", setting, _pointwise(make, curve))
            yield Case("curve, simultaneous band", setting, _band(make, curve))
            yield Case("area", setting, _area(make, curve))
            yield Case("overthinking", setting, _overthinking(make, curve), True)
            yield Case("difference of curves, pointwise", setting, _difference_point(make), rare)
            yield Case("difference of curves, band", setting, _difference_band(make), rare)
            yield Case("difference of areas", setting, _area_difference(make), rare)
    for share in (0.9, 0.95):
        rising = CURVES["rising 0.05-0.9"]
        yield Case(f"budget for {share:.0%} of peak", "n=100 K=4 rising", _reach(100, 4, rising, share), True)
    for samples in (1, 8):
        for p, shift in ((0.5, 0.0), (0.5, 1.5), (0.2, 1.5), (0.2, 0.0)):
            setting = f"n=30 p={p} area={ndtr(shift / np.sqrt(2.5)):.2f}"
            yield Case(f"AUROC, K={samples}", setting, _auroc(30, samples, p, shift))


def made_curves(rng: Generator, questions: int, samples: int, curve: Matrix, icc: float = 0.4) -> Matrix:
    """A matrix [questions, budgets] of mean scores whose expected curve is `curve`."""
    p = _quantiles(tuple(curve.tolist()), icc)[rng.integers(0, _STRATA, questions)]
    shape = (questions, len(curve), samples)
    # Seven in ten samples stand or fall with their trace, at every budget.
    luck = np.where(rng.random(shape) < 0.7, rng.random((questions, 1, samples)), rng.random(shape))
    return (luck < p[:, :, None]).mean(axis=2)


@lru_cache
def _quantiles(curve: tuple[float, ...], icc: float) -> Matrix:
    """Beta quantiles [_STRATA, budgets] at the middles of equal shares."""
    size, means = 1 / icc - 1, np.array(curve)
    shares = (np.arange(_STRATA)[:, None] + 0.5) / _STRATA
    return betaincinv(means * size, (1 - means) * size, shares)


def _beta(rng: Generator, p: float, icc: float, questions: int) -> Matrix:
    size = 1 / icc - 1
    return rng.beta(p * size, (1 - p) * size, questions)


def _clusters(rng: Generator, p: Matrix, samples: int | NDArray[np.int_]) -> dict[str, list[float]]:
    sizes = np.broadcast_to(samples, p.shape)
    return {
        str(i): (rng.random(k) < q).astype(float).tolist()
        for i, (q, k) in enumerate(zip(p, sizes, strict=True))
    }


def _holds(estimate: Estimate | Interval | None, truth: float) -> bool | None:
    if estimate is None:
        return None
    low, high = (estimate.low, estimate.high) if isinstance(estimate, Estimate) else estimate
    return low - 1e-9 <= truth <= high + 1e-9


def _share(questions: int, samples: int, p: float, icc: float) -> Trial:
    def trial(rng: Generator) -> bool | None:
        return _holds(clustered_proportion(_clusters(rng, _beta(rng, p, icc, questions), samples)), p)

    return trial


def _share_unequal(questions: int, p: float, icc: float) -> Trial:
    def trial(rng: Generator) -> bool | None:
        sizes = 2 ** rng.integers(0, 5, questions)
        return _holds(clustered_proportion(_clusters(rng, _beta(rng, p, icc, questions), sizes)), p)

    return trial


def _decoding(questions: int, samples: int, p: float, icc: float) -> Trial:
    def trial(rng: Generator) -> bool | None:
        fixed = _beta(rng, p, icc, questions)
        return _holds(decoding_interval(_clusters(rng, fixed, samples)), float(fixed.mean()))

    return trial


def _pass_at(questions: int, samples: int, k: int, p: float, icc: float) -> Trial:
    size = 1 / icc - 1
    a, b = p * size, (1 - p) * size
    truth = 1 - float(np.prod([(b + i) / (a + b + i) for i in range(k)]))  # 1 - E[(1 - q)^k]

    def trial(rng: Generator) -> bool | None:
        right = rng.binomial(samples, _beta(rng, p, icc, questions))
        return _holds(mean_of_questions([pass_at_k(int(c), samples, k) for c in right]), truth)

    return trial


def _entropy(questions: int, samples: int) -> Trial:
    """Three answers with Dirichlet(0.5) shares; the truth is the expectation at this number of samples."""

    def entropies(rng: Generator, count: int) -> Matrix:
        shares = rng.multinomial(samples, rng.dirichlet([0.5] * 3, count)) / samples
        return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)

    truth = float(entropies(np.random.default_rng(0), 400_000).mean())

    def trial(rng: Generator) -> bool | None:
        return _holds(mean_entropy([abs(float(h)) for h in entropies(rng, questions)], samples), truth)

    return trial


def _paired(questions: int, samples: int, p: float, gain: float, icc: float) -> Trial:
    def trial(rng: Generator) -> bool | None:
        before = _beta(rng, p, icc, questions)
        after = before + (1 - before) * gain / (1 - p)
        return _holds(
            paired_difference(_clusters(rng, before, samples), _clusters(rng, after, samples)), gain
        )

    return trial


def _maker(questions: int, samples: int, curve: Matrix) -> Maker:
    return lambda rng: made_curves(rng, questions, samples, curve)


def _pointwise(make: Maker, curve: Matrix) -> Trial:
    def trial(rng: Generator) -> bool | None:
        at = int(rng.integers(len(curve)))
        bands = curve_bands(make(rng)[:, [at]], draws=2)
        return _holds((bands.low[0] or 0.0, bands.high[0] or 0.0), float(curve[at]))

    return trial


def _band(make: Maker, curve: Matrix) -> Trial:
    def trial(rng: Generator) -> bool | None:
        bands = curve_bands(make(rng), draws=_DRAWS)
        pairs = zip(bands.band_low, bands.band_high, curve, strict=True)
        return all(_holds((low or 0.0, high or 0.0), float(truth)) for low, high, truth in pairs)

    return trial


def _area(make: Maker, curve: Matrix) -> Trial:
    x = log_axis(BUDGETS)
    truth = area_under_curve(x, curve.tolist())
    return lambda rng: _holds(area_estimate(make(rng), x), truth)


def _overthinking(make: Maker, curve: Matrix) -> Trial:
    truth = float(curve.max() - curve[-1])
    return lambda rng: _holds(overthinking(make(rng), draws=_DRAWS, repeats=2), truth)


def _difference_point(make: Maker) -> Trial:
    def trial(rng: Generator) -> bool | None:
        first, second = make(rng), make(rng)
        at = [int(rng.integers(first.shape[1]))]
        bands = difference_bands(first[:, at], second[:, at], draws=2)
        return _holds((bands.low[0] or 0.0, bands.high[0] or 0.0), 0.0)

    return trial


def _difference_band(make: Maker) -> Trial:
    def trial(rng: Generator) -> bool | None:
        bands = difference_bands(make(rng), make(rng), draws=_DRAWS)
        pairs = zip(bands.band_low, bands.band_high, strict=True)
        return all(_holds((low or 0.0, high or 0.0), 0.0) for low, high in pairs)

    return trial


def _area_difference(make: Maker) -> Trial:
    x = log_axis(BUDGETS)
    return lambda rng: _holds(area_difference(make(rng), make(rng), x), 0.0)


def _reach(questions: int, samples: int, curve: Matrix, share: float) -> Trial:
    truth = BUDGETS[int((curve >= share * curve.max()).argmax())]

    def trial(rng: Generator) -> bool | None:
        found = reach(made_curves(rng, questions, samples, curve), BUDGETS, [share], draws=_DRAWS)[0]
        return None if found is None else int(found.low) <= truth <= int(found.high)

    return trial


def _auroc(questions: int, samples: int, p: float, shift: float) -> Trial:
    """Normal scores, right ones `shift` higher, with a deviation of 0.5 that a question's samples share."""
    truth = float(ndtr(shift / np.sqrt(2 * 1.25)))
    labels = np.repeat(np.arange(questions), samples).tolist()

    def trial(rng: Generator) -> bool | None:
        correct = rng.random((questions, samples)) < _beta(rng, p, 0.4, questions)[:, None]
        score = rng.normal(size=correct.shape) + shift * correct + 0.5 * rng.normal(size=(questions, 1))
        return _holds(auroc(score.ravel(), correct.ravel().astype(float), labels), truth)

    return trial


if __name__ == "__main__":
    sys.exit(main())
