"""Measure what `thinking: {"entropy": true}` costs: one server, the same requests with it and without.

    python -m serve.bench.entropy --out runs/bench     # about 3 minutes on 2 cores

In each round the server gets the same fresh prompts both ways, in random order; replies are all thinking, of
exact length. Prints tokens/s and the ratio, taken within a round, as the median with its 95 % interval.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from serve import DEFAULT_MODEL
from serve.bench.measures import Comparison, Measures, table
from serve.bench.results import write_result
from serve.bench.servers import Contender, start
from serve.bench.throughput import BARRED, around, chat_body, measure_round
from serve.launch import RunningServer

WITHOUT, WITH = "without entropy", "with entropy"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m serve.bench.entropy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default=str(DEFAULT_MODEL), help="default: the shipped model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--concurrency", default="1,16", help="requests at once, default %(default)s")
    parser.add_argument("--rounds", type=int, default=8, help="default %(default)s; 95 %% needs six")
    parser.add_argument("--tokens", type=int, default=256, help="mean length of a reply")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    with start(Contender("thinkdial"), options.model, (), options.out) as server:
        close_id = httpx.get(f"{server.base_url}/v1/thinking/format").raise_for_status().json()["close_id"]
        comparisons = [
            compare(server, int(part), options.rounds, options.tokens, options.seed, close_id)
            for part in options.concurrency.split(",")
        ]
    write_result(
        options.out,
        "entropy",
        {"comparisons": [comparison.as_dict() for comparison in comparisons]},
        ratios=[ratio for comparison in comparisons for ratio in comparison.ratios()],
    )
    print(table(comparisons))
    return 0


def compare(
    server: RunningServer, concurrency: int, rounds: int, tokens: int, seed: int, close_id: int
) -> Comparison:
    """Rounds at one concurrency, after one that only warms up."""
    draw = random.Random(f"{seed}/{concurrency}")
    found: list[tuple[Measures, Measures]] = []
    for number in range(rounds + 1):
        plain = [
            chat_body(draw, server.model, around(draw, tokens)) | {"logit_bias": {str(close_id): BARRED}}
            for _ in range(max(4, 2 * concurrency))
        ]
        measured: list[dict[str, Any]] = [body | {"thinking": {"entropy": True}} for body in plain]
        ways = [(WITHOUT, plain), (WITH, measured)]
        draw.shuffle(ways)
        speeds = {name: measure_round(server, bodies, concurrency, None) for name, bodies in ways}
        if number:
            found.append((speeds[WITHOUT], speeds[WITH]))
            told = ", ".join(f"{name} {it.tokens_per_second:.0f} tokens/s" for name, it in speeds.items())
            print(f"{concurrency} at once, round {number}/{rounds}: {told}", file=sys.stderr, flush=True)
    return Comparison(WITHOUT, WITH, concurrency, tuple(found))


if __name__ == "__main__":
    sys.exit(main())
