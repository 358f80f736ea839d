"""The simulator against a real server: step times are measured, other loads predicted, and then really run.

    python -m evals.bench.simulate --out runs/simulate

On the shipped model: bursts of requests give the step times; half of them run before and half after the
loads, so that a machine whose speed drifts has its average. The loads are none of the bursts: so many
thinkmath problems in flight at any time, and Poisson arrivals at shares of the predicted capacity, each under
a budget and without. The simulator gets their true lengths and arrival times. Prints predicted beside
measured, and writes check.json and steps.json. On a machine that others use too, their share of it is in the
errors; `drift` tells how the second half of the bursts compares to the first.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evals.load.client import open_loop
from evals.problems import load
from evals.report.tables import Table, plain
from evals.simulate.engine import Engine
from evals.simulate.measure import measure_steps, server_format, thinking_format
from evals.simulate.plan import Load, Machine, capacity
from evals.simulate.report import prices
from evals.simulate.requests import Limits, Outcome, Request
from evals.simulate.steps import MeasuredSteps
from evals.simulate.workload import Lengths
from evals.stats.latency import quantile
from serve.bench.load import Reply, chat_request, run_load
from serve.launch import RunningServer, start_server

SEQUENCES, BATCHED = 64, 2048
"""--max-num-seqs and --max-num-batched-tokens of the server: both are told to it and to the simulator."""
BUDGETS = (16, None)
AT_ONCE = (8, 48, 96)
SHARES = (0.4, 0.7)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One load, predicted and measured: tokens and replies a second, seconds to the last token."""

    load: str
    budget: int | None
    requests: int
    predicted: dict[str, float]
    measured: dict[str, float]

    def error(self, name: str) -> float:
        """Predicted over measured, less 1."""
        return self.predicted[name] / self.measured[name] - 1


@dataclass(frozen=True, slots=True)
class Asked:
    """Problems of the loads, with the lengths of their own replies."""

    model: str
    texts: Sequence[str]
    lengths: Sequence[Lengths]

    def body(self, which: int, budget: int | None) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": self.texts[which]}],
            "temperature": 0,
            "return_token_ids": True,
        }
        return body if budget is None else {**body, "thinking_budget": budget}

    def request(self, which: int, budget: int | None, arrived: float = 0.0) -> Request:
        it = self.lengths[which]
        return Request(arrived, it.prompt, it.thinking, it.answer, budget)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evals.bench.simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("runs/simulate"), help="folder (%(default)s)")
    parser.add_argument("--requests", type=int, default=400, help="of each load (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="of bursts before and after (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    flags = ["--max-num-seqs", str(SEQUENCES), "--max-num-batched-tokens", str(BATCHED)]
    with start_server(args=flags, log_path=options.out / "server.log") as server:
        result = check(server, options.requests, options.rounds, options.seed, options.out)
    (options.out / "check.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 0


def check(server: RunningServer, count: int, rounds: int, seed: int, out: Path) -> dict[str, Any]:
    """Measure, run, predict, print; returns what check.json holds."""
    asked = learn(server)
    first = measure_steps(server.base_url, rounds=rounds, seed=seed)
    measured = run_loads(server, asked, machine_of(server, first), count, seed)
    second = measure_steps(server.base_url, rounds=rounds, seed=seed + 1)
    steps = replace(first, rows=(*first.rows, *second.rows))
    steps.write(out / "steps.json")
    machine = machine_of(server, steps)
    comparisons = [
        Comparison(name, budget, len(requests), told(predict(machine, requests, in_flight)), real)
        for name, budget, requests, in_flight, real in measured
    ]
    drift = drift_of(first, second)
    print(prices(steps))
    print(f"\n{table(comparisons)}\n\ndrift: the same bursts took {drift:.2f} times as long after the loads")
    errors = {
        name: [abs(it.error(name)) for it in comparisons] for name in ("tokens_per_second", "p50", "p95")
    }
    return {
        "about": dict(steps.about),
        "limits": asdict(machine.limits),
        "prices": asdict(steps.fit()),
        "drift": drift,
        "median_error": {name: quantile(values, 0.5) for name, values in errors.items()},
        "largest_error": {name: max(values) for name, values in errors.items()},
        "comparisons": [asdict(it) for it in comparisons],
    }


def learn(server: RunningServer, limit: int = 200) -> Asked:
    """Problems, and how long their replies are without a budget. Those that do not end are left out."""
    texts = [problem.problem for problem in load("thinkmath", limit=limit)]
    asked = Asked(server.model, texts, [])
    replies = run_load(server.base_url, [asked.body(which, None) for which in range(limit)], 32)
    form = thinking_format(server.base_url)
    found = [(text, lengths_of(reply, form)) for text, reply in zip(texts, replies, strict=True)]
    ended = [(text, lengths) for text, lengths in found if lengths is not None]
    return Asked(server.model, [text for text, _ in ended], [lengths for _, lengths in ended])


def lengths_of(reply: Reply, form: dict[str, Any]) -> Lengths | None:
    """Prompt, thinking and answer tokens of a whole reply; None for one that ran out of tokens."""
    ids = [token for event in reply.token_ids for token in event]
    if reply.finish_reason != "stop" or form["close_id"] not in ids:
        return None
    close = ids.index(form["close_id"])
    thinking = close - (form["opened_by"] == "model")
    return Lengths(reply.prompt_tokens, thinking, len(ids) - close - 1)


Run = tuple[str, int | None, list[Request], int | None, dict[str, float]]
"""A load: its name, budget, requests for the simulator, requests in flight, and what was measured."""


def run_loads(
    server: RunningServer,
    asked: Asked,
    machine: Machine,
    count: int,
    seed: int,
    budgets: Sequence[int | None] = BUDGETS,
    at_once: Sequence[int] = AT_ONCE,
    shares: Sequence[float] = SHARES,
) -> list[Run]:
    """All loads of `count` requests each, really."""
    runs: list[Run] = []
    for budget in budgets:
        for in_flight in at_once:
            draw = random.Random(f"{seed}/{budget}/{in_flight}")
            picks = [draw.randrange(len(asked.texts)) for _ in range(count)]
            replies = run_load(server.base_url, [asked.body(it, budget) for it in picks], in_flight)
            began = min(reply.sent for reply in replies)
            times = [reply.ended - reply.sent for reply in replies]
            tokens = sum(reply.completion_tokens for reply in replies)
            real = _numbers(times, tokens, max(reply.ended for reply in replies) - began)
            requests = [asked.request(it, budget) for it in picks]
            runs.append((f"{in_flight} at once", budget, requests, in_flight, real))
        most = capacity(budget, Load(asked.lengths, 1.0, count, seed=seed), machine)
        for share in shares:
            draw = random.Random(f"{seed}/{budget}/{share}")
            due, arrivals = 0.0, []
            for _ in range(count):
                due += draw.expovariate(share * most)
                arrivals.append((due, draw.randrange(len(asked.texts))))
            raw = [(due, chat_request(server.base_url, asked.body(it, budget))) for due, it in arrivals]
            answered = open_loop(server.base_url, raw)
            if failed := [it.error for it in answered if it.ended is None]:
                raise RuntimeError(f"{len(failed)} requests failed: {failed[0]}")
            ended = [it.ended or 0.0 for it in answered]
            times = [end - it.due for end, it in zip(ended, answered, strict=True)]
            real = _numbers(times, sum(it.tokens or 0 for it in answered), max(ended))
            requests = [asked.request(it, budget, due) for due, it in arrivals]
            runs.append((f"{share:g} of capacity", budget, requests, None, real))
    return runs


def machine_of(server: RunningServer, measured: MeasuredSteps) -> Machine:
    """The server as the simulator sees it."""
    limits = Limits(SEQUENCES, BATCHED, measured.limits["kv_blocks"], measured.limits["block_size"])
    return Machine(limits, measured.fit(), server_format(server.base_url), 0.0)


def predict(machine: Machine, requests: Sequence[Request], in_flight: int | None) -> Outcome:
    return Engine(machine.limits, machine.steps, machine.form).run(requests, in_flight)


def told(outcome: Outcome) -> dict[str, float]:
    """Of a simulated load what is measured of a real one; a reply's tokens hold the inserted ones."""
    requests = outcome.requests
    return _numbers([it.seconds for it in requests], outcome.streamed, outcome.seconds)


def _numbers(times: Sequence[float], tokens: int, seconds: float) -> dict[str, float]:
    return {
        "tokens_per_second": tokens / seconds,
        "replies_per_second": len(times) / seconds,
        "p50": quantile(times, 0.5),
        "p95": quantile(times, 0.95),
    }


def drift_of(first: MeasuredSteps, second: MeasuredSteps) -> float:
    """How much longer the second bursts took than a fit to the first says: the median ratio."""
    fit = first.fit()
    return quantile([row.seconds / fit.of(row) for row in second.rows], 0.5)


def table(comparisons: Sequence[Comparison]) -> str:
    names = ("tokens_per_second", "p50", "p95")
    return plain(
        Table(
            "Predicted and measured",
            "",
            ["load", "budget", *(f"{name} {what}" for name in ("tokens/s", "p50", "p95") for what in TOLD)],
            [
                [
                    it.load,
                    "max" if it.budget is None else str(it.budget),
                    *(
                        cell
                        for name in names
                        for cell in (
                            f"{it.predicted[name]:.2f}",
                            f"{it.measured[name]:.2f}",
                            f"{100 * it.error(name):+.0f} %",
                        )
                    ),
                ]
                for it in comparisons
            ],
        )
    )


TOLD = ("predicted", "measured", "error")


if __name__ == "__main__":
    sys.exit(main())
