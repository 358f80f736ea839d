"""Measure how deadlines are kept: thinking that would never end, ended in time for its answer.

    python -m serve.bench.deadline --out runs/bench     # about 2 minutes on 2 cores

The closing tag and the end of the turn are barred, so only the deadline ends the thinking; a grammar keeps
the answer short. For each number of requests at once and each deadline: how many responses were there in
time, how much of the deadline they used, and how late the late ones were. The first batch of each kind only
warms up.
"""

import argparse
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from serve.bench.load import Reply, run_load
from serve.bench.results import Figure, write_result
from serve.launch import RunningServer, start_server

PROMPT = "A sequence starts {}, {}; each next term is the sum of the two before, modulo 10. What is term 8?"
BATCHES = 4
CONCURRENCY = (1, 16, 64)
DEADLINES = (0.5, 1.0, 2.0)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m serve.bench.deadline", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for deadline.json and the server's log"
    )
    out: Path = parser.parse_args(sys.argv[1:] if argv is None else argv).out
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    print("at once | deadline s | in time | used, median | lateness of the late, median ms")
    with start_server(log_path=out / "deadline-server.log") as server:
        for concurrency in CONCURRENCY:
            for deadline in DEADLINES:
                row = measure(server, concurrency, deadline)
                rows.append(row)
                late = row["late_ms"]
                print(
                    f"{concurrency:7} | {deadline:10} | {row['in_time']:7.1%} | {row['used']:12.1%} | "
                    f"{'-' if late is None else round(late)}",
                    flush=True,
                )
    figures = [
        Figure(
            f"in time, {row['concurrency']} at once with {row['deadline']} s", f"{100 * row['in_time']:.1f} %"
        )
        for row in rows
    ]
    write_result(out, "deadline", {"rows": rows}, figures=figures)
    return 0


def measure(server: RunningServer, concurrency: int, deadline: float) -> dict[str, Any]:
    """Responses with one deadline: the share in time, what they used of it, and how late the late were."""
    form = httpx.get(f"{server.base_url}/v1/thinking/format").raise_for_status().json()
    turn_end = httpx.post(f"{server.base_url}/tokenize", json={"prompt": "<|im_end|>"}).json()["tokens"]
    rng = random.Random(0)
    replies: list[Reply] = []
    for batch in range(1 + BATCHES):
        bodies = [
            {
                "messages": [
                    {"role": "user", "content": PROMPT.format(*(rng.randrange(10) for _ in range(2)))}
                ],
                "temperature": 0,
                "logit_bias": {str(token): -100 for token in (form["close_id"], *turn_end)},
                "structured_outputs": {"regex": r"The answer is \\boxed\{[0-9]\}"},
                "thinking": {"deadline": deadline},
            }
            for number in range(concurrency)
        ]
        done = run_load(server.base_url, bodies, concurrency)
        replies += done if batch else []
    seconds = [reply.ended - reply.sent for reply in replies]
    late = [1000 * (spent - deadline) for spent in seconds if spent > deadline]
    return {
        "concurrency": concurrency,
        "deadline": deadline,
        "responses": len(seconds),
        "in_time": 1 - len(late) / len(seconds),
        "used": statistics.median(seconds) / deadline,
        "late_ms": statistics.median(late) if late else None,
    }


if __name__ == "__main__":
    sys.exit(main())
