"""The simulator against a real server: step times are measured, other loads predicted, and then really run.

    python -m evals.bench.simulate --out runs/simulate

On the shipped model: bursts of requests give the step times. The loads are none of the bursts: so many
thinkmath problems in flight at any time, and Poisson arrivals at shares of the predicted capacity, each under
a budget and without. The simulator gets their true lengths and arrival times. Prints predicted beside
measured, and writes check.json and steps.json.

On a machine that others use too, speed changes by the minute. So three bursts run before and after each load:
how long they take against the fit, `speed`, multiplies the step times of that load's prediction. What changes
within a load is still in its error. With `--clock cpu` time is what the server's processes and this one took
of their core, which other jobs change little; for that all must run on one core (taskset), and nothing may
wait, so that there are no Poisson loads.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from evals.load.client import open_loop
from evals.problems import load
from evals.report.tables import Table, plain
from evals.simulate.engine import Engine
from evals.simulate.measure import Burst, Clock, measure_bursts, measure_steps, server_format, thinking_format
from evals.simulate.plan import Load, Machine, capacity
from evals.simulate.report import prices
from evals.simulate.requests import Format, Limits, Outcome, Request
from evals.simulate.steps import LinearSteps, MeasuredSteps
from evals.simulate.workload import Lengths
from evals.stats.latency import quantile
from serve.bench.load import Reply, chat_request, run_load
from serve.bench.throughput import cpu_seconds, machine
from serve.launch import RunningServer, start_server

SEQUENCES, BATCHED = 64, 2048
"""--max-num-seqs and --max-num-batched-tokens of the server: both are told to it and to the simulator."""
BUDGETS = (16, None)
AT_ONCE = (8, 48, 96)
NAMES = ("tokens_per_second", "p50", "p95")
COLUMNS = [
    f"{name} {what}" for name in ("tokens/s", "p50", "p95") for what in ("predicted", "measured", "error")
]
REFERENCE = (Burst(4, 8, 32), Burst(16, 8, 64), Burst(64, 8, 32))
SHARES = (0.4, 0.7)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One load, predicted and measured: tokens and replies a second, seconds to the last token.

    speed: how many times as long as by the fit the bursts around it took. drift: those after it against those
    before.
    """

    load: str
    budget: int | None
    speed: float
    drift: float
    predicted: dict[str, float]
    measured: dict[str, float]

    def error(self, name: str) -> float:
        """Predicted over measured, less 1."""
        return self.predicted[name] / self.measured[name] - 1


@dataclass(frozen=True, slots=True)
class Subject:
    """The server, and what the simulator knows of it."""

    server: RunningServer
    limits: Limits
    form: Format
    prices: LinearSteps
    cpu: bool = False

    @classmethod
    def of(cls, server: RunningServer, measured: MeasuredSteps, cpu: bool = False) -> "Subject":
        limits = Limits(SEQUENCES, BATCHED, measured.limits["kv_blocks"], measured.limits["block_size"])
        return cls(server, limits, server_format(server.base_url), measured.fit(), cpu)

    def machine(self, speed: float = 1.0) -> Machine:
        """The server when everything takes `speed` times as long."""
        prices = LinearSteps(*(price * speed for price in asdict(self.prices).values()))
        return Machine(self.limits, prices, self.form, 0.0)

    def speed(self, seed: int) -> float:
        """How many times as long as by the fit it takes now; processor time is taken to be steady."""
        if self.cpu:
            return 1.0
        rows = measure_bursts(self.server.base_url, REFERENCE, seed)
        return sum(row.seconds for row in rows) / sum(self.prices.of(row) for row in rows)


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
    parser.add_argument("--rounds", type=int, default=2, help="of the bursts that are fitted (%(default)s)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    flags = ["--max-num-seqs", str(SEQUENCES), "--max-num-batched-tokens", str(BATCHED)]
    cpu = options.clock == "cpu"
    with start_server(args=flags, log_path=options.out / "server.log") as server:
        subject = measured_subject(server, options.rounds, options.seed, cpu, options.out)
        result = check(subject, options.requests, options.seed)
    (options.out / "check.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 0


def measured_subject(server: RunningServer, rounds: int, seed: int, cpu: bool, out: Path) -> "Subject":
    """The server with its step times, which are written and printed."""
    clock = cpu_clock(server) if cpu else perf_counter
    steps = measure_steps(server.base_url, rounds=rounds, seed=seed, clock=clock)
    steps.write(out / "steps.json")
    print(prices(steps), flush=True)
    return Subject.of(server, steps, cpu)


def cpu_clock(server: RunningServer) -> Clock:
    """Processor time of the server's processes and of this one."""
    return lambda: cpu_seconds(server) + process_time()


def check(subject: "Subject", count: int, seed: int) -> dict[str, Any]:
    """Run, predict, print; returns what check.json holds."""
    asked = learn(subject.server)
    shares = () if subject.cpu else SHARES
    comparisons = run_loads(subject, asked, count, seed, shares=shares)
    print(f"\n{table(comparisons)}")
    errors = {name: [abs(it.error(name)) for it in comparisons] for name in NAMES}
    return {
        "machine": machine(),
        "clock": "cpu" if subject.cpu else "wall",
        "limits": asdict(subject.limits),
        "prices": asdict(subject.prices),
        "requests": count,
        "median_error": {name: median(values) for name, values in errors.items()},
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


def run_loads(
    subject: Subject,
    asked: Asked,
    count: int,
    seed: int,
    budgets: Sequence[int | None] = BUDGETS,
    at_once: Sequence[int] = AT_ONCE,
    shares: Sequence[float] = SHARES,
) -> list[Comparison]:
    """All loads of `count` requests each, really and simulated."""
    found: list[Comparison] = []
    url = subject.server.base_url
    before = subject.speed(seed)

    def note(load: str, requests: list[Request], in_flight: int | None, real: dict[str, float]) -> None:
        nonlocal before
        after = subject.speed(seed)
        speed = (before + after) / 2
        replica = subject.machine(speed)
        predicted = told(Engine(replica.limits, replica.steps, replica.form).run(requests, in_flight))
        budget = requests[0].budget
        found.append(Comparison(load, budget, speed, after / before, predicted, real))
        before = after

    for budget in budgets:
        for in_flight in at_once:
            draw = random.Random(f"{seed}/{budget}/{in_flight}")
            picks = [draw.randrange(len(asked.texts)) for _ in range(count)]
            clock = cpu_clock(subject.server) if subject.cpu else perf_counter
            began, began_wall = clock(), perf_counter()
            replies = run_load(url, [asked.body(it, budget) for it in picks], in_flight)
            seconds = clock() - began
            share = seconds / (perf_counter() - began_wall)
            times = [share * (reply.ended - reply.sent) for reply in replies]
            real = _numbers(times, sum(reply.completion_tokens for reply in replies), seconds)
            note(f"{in_flight} at once", [asked.request(it, budget) for it in picks], in_flight, real)
        most = capacity(budget, Load(asked.lengths, 1.0, count, seed=seed), subject.machine())
        for share in shares:
            draw = random.Random(f"{seed}/{budget}/{share}")
            due, arrivals = 0.0, []
            for _ in range(count):
                due += draw.expovariate(share * most / before)
                arrivals.append((due, draw.randrange(len(asked.texts))))
            raw = [(due, chat_request(url, asked.body(it, budget))) for due, it in arrivals]
            answered = open_loop(url, raw)
            if failed := [it.error for it in answered if it.ended is None]:
                raise RuntimeError(f"{len(failed)} requests failed: {failed[0]}")
            ended = [it.ended or 0.0 for it in answered]
            times = [end - it.due for end, it in zip(ended, answered, strict=True)]
            real = _numbers(times, sum(it.tokens or 0 for it in answered), max(ended))
            requests = [asked.request(it, budget, due) for due, it in arrivals]
            note(f"{share:g} of capacity", requests, None, real)
    return found


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


def table(comparisons: Sequence[Comparison]) -> str:
    return plain(
        Table(
            "Predicted and measured",
            "",
            ["load", "budget", "speed", "drift", *COLUMNS],
            [
                [
                    it.load,
                    "max" if it.budget is None else str(it.budget),
                    f"{it.speed:.2f}",
                    f"{it.drift:.2f}",
                    *(
                        cell
                        for name in NAMES
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


if __name__ == "__main__":
    sys.exit(main())
