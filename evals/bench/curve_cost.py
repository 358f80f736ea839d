"""What a budget curve costs: forked, direct, and as lm-eval draws it from vLLM's own budget.

    python -m evals.bench.curve_cost --out runs/bench          # about 10 minutes on 2 quiet cores
    python -m evals.bench.curve_cost --out runs/bench --quick  # about 3, for a look

Three servers are up: ours for the forked and for the direct curve, each its own so that no cache helps the
other, and plain vLLM with `thinking_token_budget` and the same early-stop text. In each round all three
draw the same fresh problems at all budgets, greedily, in random order; the other servers are idle. A round
that only warms up comes first. lm-eval runs in this process on a task loaded once, so that only its asking
and scoring are timed. Ratios are taken within a round. Writes curve_cost.json, curve_cost.md and the servers'
logs.

Tokens decoded are all that a server decodes, a step each. Ours inserts the early-stop text as prompt; vLLM
decodes it, so there it is among them, and the table says how much it is.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from clients import Client, ThinkingFormat
from evals.bench.native_curve import NativeCurve
from evals.bridges.replies import replies_at
from evals.budgets import Budget, parse_budgets
from evals.grading import grade
from evals.problems import Problem, load
from evals.stats import paired_difference
from evals.store import read_records
from evals.sweep.presets import GREEDY
from evals.sweep.run import run_sweep
from evals.sweep.settings import Mode, SweepSettings
from serve import DEFAULT_MODEL
from serve.bench.results import Ratio, write_result
from serve.bench.servers import Contender, start

FORKED, DIRECT, NATIVE = "forked", "direct", "lm-eval, vLLM's budget"
WARM_UP = 4
QUICK_ROUNDS, QUICK_LIMIT = 2, 40

Correct = dict[Budget, dict[str, bool]]
"""Whether the reply to each problem is right, at each budget."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one curve over one round's problems took.

    decoded: tokens the server decoded. inserted: those of them that are early-stop text. thinking: those that
    are thinking. natural_thinking: thinking tokens of the replies at the largest budget. forced, leaked,
    over: see `NativePoint`; 0 for our server by construction, where a reply that thinks too long is an error.
    """

    seconds: float
    decoded: int
    inserted: int
    thinking: int
    natural_thinking: int
    forced: int
    leaked: int
    over: int
    correct: Correct = field(repr=False)


Draw = Callable[[Sequence[Problem], Path], Cost]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its tables."""
    options = _parse(sys.argv[1:] if argv is None else argv)
    budgets = tuple(parse_budgets(options.budgets))
    options.out.mkdir(parents=True, exist_ok=True)
    problems = load(options.problems, limit=WARM_UP + options.rounds * options.limit)
    if len(problems) < WARM_UP + options.rounds * options.limit:
        raise ValueError(
            f"limit: {options.problems} has {len(problems)} problems, too few for {options.rounds} rounds "
            f"of {options.limit}"
        )
    with ExitStack() as servers:
        draws = _contenders(servers, options, budgets)
        rounds = _rounds(draws, problems, options)
    result = {
        "settings": {
            **{name: str(value) for name, value in vars(options).items() if name in ("model", "problems")},
            **{
                name: getattr(options, name)
                for name in ("limit", "rounds", "concurrency", "max_tokens", "seed")
            },
            "budgets": budgets,
        },
        "rounds": [{name: _as_json(cost) for name, cost in costs.items()} for costs in rounds],
        "forked_over": ratios(rounds),
        "agreement": agreement(rounds, budgets),
    }
    shown = table(result, rounds)
    write_result(options.out, "curve_cost", result, ratios=told_ratios(result))
    (options.out / "curve_cost.md").write_text(shown + "\n", "utf-8")
    print(shown)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m evals.bench.curve_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Flags after -- go to all three servers: -- --gpu-memory-utilization 0.25",
    )
    parser.add_argument("--model", default=str(DEFAULT_MODEL), help="default: the shipped model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--problems", default="thinkmath")
    parser.add_argument("--limit", type=int, help="problems a round (100)")
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds of {QUICK_LIMIT}")
    parser.add_argument(
        "--budgets", default="8,16,24,32,40,48,56,64,72,80,88,max", help="default %(default)s"
    )
    parser.add_argument("--concurrency", type=int, default=16, help="requests at once, default %(default)s")
    parser.add_argument("--max-tokens", type=int, default=256, help="of a reply, default %(default)s")
    parser.add_argument("--reasoning-parser", default="qwen3", help="plain vLLM's, default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the orders")
    arguments = list(argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:end])
    options.flags = arguments[end + 1 :]
    options.limit = options.limit or (QUICK_LIMIT if options.quick else 100)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else 5)
    return options


def _contenders(
    servers: ExitStack, options: argparse.Namespace, budgets: tuple[Budget, ...]
) -> dict[str, Draw]:
    """Start the servers; how each way draws its curve."""

    def ours(mode: Mode) -> tuple[Draw, ThinkingFormat]:
        server = servers.enter_context(start(Contender(mode), options.model, options.flags, options.out))

        def draw(problems: Sequence[Problem], folder: Path) -> Cost:
            settings = SweepSettings(
                options.problems,
                folder,
                budgets,
                mode=mode,
                sampling=GREEDY,
                max_tokens=options.max_tokens,
                concurrency=options.concurrency,
                logprobs="off",
            )
            return _ours(settings, server.base_url, problems)

        with Client(server.base_url) as client:
            return draw, client.thinking_format()

    forked, form = ours("forked")
    direct, _ = ours("direct")
    contender = Contender("native", options.reasoning_parser, native_stop_text=form.stop_text)
    native = servers.enter_context(start(contender, options.model, options.flags, options.out))

    def draw_native(problems: Sequence[Problem], folder: Path) -> Cost:
        curve = NativeCurve(
            native.base_url, native.model, form, problems, folder, options.concurrency, options.max_tokens
        )
        return _native(curve, budgets, problems, form)

    return {FORKED: forked, DIRECT: direct, NATIVE: draw_native}


def _ours(settings: SweepSettings, base_url: str, problems: Sequence[Problem]) -> Cost:
    started = time.monotonic()
    run_sweep(settings, base_url, problems=problems)
    seconds = time.monotonic() - started
    stored, failures = read_records(settings.out)
    if failures:
        raise RuntimeError(
            f"the server refused {len(failures)} requests: {next(iter(failures.values())).error}"
        )
    records = list(stored.values())
    at = {budget: replies_at(records, budget) for budget in settings.budgets}
    # A fork's thinking is its trace's; what it inserts is prompt, and not decoded.
    thought = [r for r in records if r.kind != "fork"]
    return Cost(
        seconds=seconds,
        decoded=sum(r.generated_tokens or 0 for r in records),
        inserted=0,
        thinking=sum(r.thinking_tokens or 0 for r in thought),
        natural_thinking=sum(r.thinking_tokens or 0 for r in at[settings.budgets[-1]].values()),
        forced=sum(r.stop_cause == "budget" for replies in at.values() for r in replies.values()),
        leaked=0,
        over=0,
        correct={
            budget: {problem: grade(r.gold, r.answer).correct for (problem, _), r in replies.items()}
            for budget, replies in at.items()
        },
    )


def _native(
    curve: NativeCurve, budgets: Sequence[Budget], problems: Sequence[Problem], form: ThinkingFormat
) -> Cost:
    started = time.monotonic()
    points = {budget: curve.point(budget) for budget in budgets}
    seconds = time.monotonic() - started
    golds = {problem.id: problem.answer for problem in problems}
    return Cost(
        seconds=seconds,
        decoded=sum(p.generated_tokens for p in points.values()),
        # Text that leaks into an answer is decoded as well.
        inserted=sum((p.forced + p.leaked) * len(form.stop_ids) for p in points.values()),
        thinking=sum(p.thinking_tokens for p in points.values()),
        natural_thinking=points[budgets[-1]].thinking_tokens,
        forced=sum(p.forced for p in points.values()),
        leaked=sum(p.leaked for p in points.values()),
        over=sum(p.over for p in points.values()),
        correct={
            budget: {problem: grade(golds[problem], text).correct for problem, text in point.answers.items()}
            for budget, point in points.items()
        },
    )


def _rounds(
    draws: Mapping[str, Draw], problems: Sequence[Problem], options: argparse.Namespace
) -> list[dict[str, Cost]]:
    """The costs of every round by contender, after one round that only warms up."""
    order = random.Random(options.seed)
    edges = [0, *range(WARM_UP, len(problems) + 1, options.limit)]
    rounds = []
    for number, (first, last) in enumerate(pairwise(edges)):
        names = list(draws)
        order.shuffle(names)
        costs = {}
        for name in names:
            with TemporaryDirectory(dir=options.out, prefix="curve-") as folder:
                costs[name] = draws[name](problems[first:last], Path(folder))
        if number == 0:
            continue
        rounds.append(costs)
        said = ", ".join(f"{name} {cost.seconds:.1f} s" for name, cost in costs.items())
        print(f"round {number}/{options.rounds}: {said}", file=sys.stderr, flush=True)
    return rounds


def ratios(rounds: Sequence[Mapping[str, Cost]]) -> dict[str, dict[str, dict[str, float]]]:
    """Forked over each other way: the median of the rounds' ratios, and their least and largest."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for other in (DIRECT, NATIVE):
        found[other] = {}
        for quantity in ("decoded", "thinking", "seconds"):
            each = [getattr(r[FORKED], quantity) / getattr(r[other], quantity) for r in rounds]
            found[other][quantity] = {"median": median(each), "low": min(each), "high": max(each)}
    return found


def told_ratios(result: Mapping[str, Any]) -> list[Ratio]:
    """Time and decoded tokens against both other ways, for the page of all benchmarks."""
    curve = f"curve of {len(result['settings']['budgets'])} budgets"
    spread = f"range of {len(result['rounds'])} rounds"
    return [
        Ratio(f"{what} of a {curve}", FORKED, other, r["median"], r["low"], r["high"], spread, "lower")
        for other, found in result["forked_over"].items()
        for what, r in (("wall time", found["seconds"]), ("tokens decoded", found["decoded"]))
    ]


def agreement(rounds: Sequence[Mapping[str, Cost]], budgets: Sequence[Budget]) -> list[dict[str, Any]]:
    """Accuracy at each budget, and the other ways less the forked one, paired by problem.

    The intervals of a way hold for all budgets together with 95 % (Bonferroni).
    """
    rows: list[dict[str, Any]] = []
    for budget in budgets:
        right = {
            name: _merged(cost[name].correct[budget] for cost in rounds) for name in (FORKED, DIRECT, NATIVE)
        }
        row: dict[str, Any] = {"budget": budget, "n": len(right[FORKED])}
        for name, found in right.items():
            row[name] = {"accuracy": sum(found.values()) / len(found)}
            if name != FORKED:
                change = paired_difference(
                    {p: [float(v)] for p, v in right[FORKED].items()},
                    {p: [float(v)] for p, v in found.items()},
                    1 - 0.05 / len(budgets),
                )
                assert change is not None
                row[name] |= {
                    "difference": change.mean,
                    "low": change.low,
                    "high": change.high,
                    "alike": sum(found[p] == v for p, v in right[FORKED].items()) / len(found),
                }
        rows.append(row)
    return rows


def _merged(parts: Any) -> dict[str, bool]:
    return {problem: right for part in parts for problem, right in part.items()}


def _as_json(cost: Cost) -> dict[str, Any]:
    return {name: value for name, value in asdict(cost).items() if name != "correct"}


def table(result: Mapping[str, Any], rounds: Sequence[Mapping[str, Cost]]) -> str:
    """The result in Markdown."""
    settings = result["settings"]
    lines = [
        f"# Cost of a curve of {len(settings['budgets'])} budgets",
        "",
        f"{settings['problems']}, {len(rounds)} rounds of {settings['limit']} problems, "
        f"{settings['concurrency']} requests at once, budgets {', '.join(map(str, settings['budgets']))}. "
        "Sums over the rounds.",
        "",
        "| way | seconds | tokens decoded | thinking | early-stop text | forced | leaked | over |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in (FORKED, DIRECT, NATIVE):
        costs = [costs[name] for costs in rounds]
        total = {q: sum(getattr(c, q) for c in costs) for q in _as_json(costs[0])}
        counts = ("decoded", "thinking", "inserted", "forced", "leaked", "over")
        lines.append(
            f"| {name} | {total['seconds']:.1f} | " + " | ".join(f"{total[q]:,}" for q in counts) + " |"
        )
    thought = sum(costs[FORKED].thinking for costs in rounds)
    largest = sum(costs[DIRECT].natural_thinking for costs in rounds)
    lines += [
        "",
        f"Thinking tokens of the forked curve: {thought:,}; of the largest point alone, drawn directly: "
        f"{largest:,}.",
        "Thinking, early-stop text: how many of the decoded tokens are. Forced: replies whose thinking the "
        "budget ended; vLLM's ends thinking of exactly its length too, ours lets it end itself. Leaked: "
        "early-stop text in the answer. Over: replies that thought longer than their budget.",
        "",
        "| forked over | tokens decoded | thinking tokens | wall time |",
        "|---|---|---|---|",
    ]
    for other, found in result["forked_over"].items():
        cells = [
            f"{found[q]['median']:.3f} ({found[q]['low']:.3f} to {found[q]['high']:.3f})"
            for q in ("decoded", "thinking", "seconds")
        ]
        lines.append(f"| {other} | {' | '.join(cells)} |")
    lines += [
        "",
        "Ratios within a round: median (least to largest). Accuracies, and differences to the forked curve "
        "in points, paired by problem, with intervals that hold for all budgets together with 95 %:",
        "",
        f"| budget | forked | direct | difference | alike | {NATIVE} | difference | alike |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["agreement"]:
        cells = [str(row["budget"]), f"{row[FORKED]['accuracy']:.3f}"]
        for name in (DIRECT, NATIVE):
            got = row[name]
            low, high = 100 * got["low"], 100 * got["high"]
            change = f"{100 * got['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
            cells += [f"{got['accuracy']:.3f}", change, f"{100 * got['alike']:.0f} %"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
