"""Measure one budget curve both ways: what forking costs, and whether the two curves agree.

    python -m evals.bench.forked_vs_direct --limit 400 --budgets 12,24,36,48,60,72,84,96 --out runs/bench

Prints the accuracy of both modes at each budget with their paired difference, how many replies are graded
alike, and the ratio of generated tokens. The intervals hold for all budgets together with 95 % (Bonferroni);
the status is 1 if one of them excludes 0.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from evals.budgets import Budget, parse_budgets
from evals.stats import Estimate, paired_difference
from evals.summary.outcomes import Outcome, outcomes
from evals.summary.replies import read_run
from evals.summary.summarise import summarise
from evals.sweep.presets import sampling
from evals.sweep.run import run_sweep
from evals.sweep.settings import Mode, SweepSettings
from serve.bench.results import Figure, Ratio, write_result

MODES: tuple[Mode, ...] = ("forked", "direct")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 if the curves agree, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m evals.bench.forked_vs_direct", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--problems", default="thinkmath")
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--budgets", default="12,24,36,48,60,72,84,96", help="an even grid by default")
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--sampling", default="greedy", help="a preset of evals.sweep.presets")
    parser.add_argument("--base-url", help="a running server; without it one is started")
    parser.add_argument("--model", help="with --base-url the served name, without it the checkpoint to serve")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of forked_vs_direct.json and the two runs"
    )
    options = parser.parse_args(argv)
    budgets = tuple(parse_budgets(options.budgets))
    found: dict[str, dict[tuple[str, Budget], Outcome]] = {}
    tokens: dict[str, int] = {}
    with _server(options.base_url, options.model) as (base_url, model):
        for mode in MODES:
            out = options.out / mode
            settings = SweepSettings(
                options.problems,
                out,
                budgets,
                limit=options.limit,
                mode=mode,
                max_tokens=options.max_tokens,
                sampling=sampling(options.sampling),
            )
            run_sweep(settings, base_url, model)
            found[mode] = {(o.problem, o.budget): o for o in outcomes(read_run(out))}
            tokens[mode] = summarise(out)["totals"]["all_generated_tokens"]
    agree = True
    rows = []
    print(f"{'budget':>8}  {'forked':>7}  {'direct':>7}  {'difference (points)':>22}  graded alike")
    for budget in budgets:
        pairs = [(f, found["direct"][key]) for key, f in found["forked"].items() if key[1] == budget]
        change = _difference(pairs, confidence=1 - 0.05 / len(budgets))
        agree = agree and change.low <= 0 <= change.high
        alike = sum(f.correct == d.correct for f, d in pairs)
        rows.append({"budget": budget, **asdict(change), "alike": alike, "n": len(pairs)})
        points = f"{100 * change.mean:+.2f} [{100 * change.low:+.2f}, {100 * change.high:+.2f}]"
        print(
            f"{budget:>8}  {_accuracy(f for f, _ in pairs):7.3f}  {_accuracy(d for _, d in pairs):7.3f}  "
            f"{points:>22}  {alike}/{len(pairs)}"
        )
    print(
        f"generated tokens: forked {tokens['forked']:,}, direct {tokens['direct']:,}, "
        f"ratio {tokens['forked'] / tokens['direct']:.3f}"
    )
    what = f"tokens decoded for a curve of {len(budgets)} budgets"
    ratio = tokens["forked"] / tokens["direct"]
    write_result(
        options.out,
        "forked_vs_direct",
        {"rows": rows, "tokens": tokens},
        ratios=[Ratio(what, "forked", "direct", ratio, None, None, "one run", "lower")],
        figures=[Figure("curves agree (95 %, all budgets together)", "yes" if agree else "no")],
    )
    return 0 if agree else 1


@contextmanager
def _server(base_url: str | None, model: str | None) -> Iterator[tuple[str, str | None]]:
    if base_url is not None:
        yield base_url, model
        return
    from serve.launch import start_server

    with start_server(model) as server:
        yield server.base_url, server.model


def _difference(pairs: Sequence[tuple[Outcome, Outcome]], confidence: float) -> Estimate:
    forked = {f.problem: [float(f.correct)] for f, _ in pairs}
    direct = {d.problem: [float(d.correct)] for _, d in pairs}
    estimate = paired_difference(forked, direct, confidence)
    if estimate is None:
        raise ValueError("limit: no problem has a reply in both modes")
    return estimate


def _accuracy(replies: Iterator[Outcome]) -> float:
    graded = [reply.correct for reply in replies]
    return sum(graded) / len(graded)


if __name__ == "__main__":
    sys.exit(main())
