"""A soak: thousands of mixed requests, a third of whose clients leave early; then nothing may be left.

    python -m serve.bench.soak --requests 5000

Prints a JSON summary, and ends with exit code 1 if something is: a running or waiting request, a cache block,
a thread, an open file, more memory than after the first tenth of the requests, or a wrong answer.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from serve import DEFAULT_MODEL
from serve.bench.results import Figure, write_result
from serve.launch import start_server

CACHE_BLOCKS = 1024
"""So few that the warm-up has touched all: memory that is used for the first time is no leak."""

WARM_UP = 0.1
LEAVING = 0.45
"""Share of the clients that mean to leave; some are answered before."""

MAX_GROWTH = 0.05
SETTLE_SECONDS = 15.0
BUDGETS = (None, 0, 1, 4, 16, 64, 500)
POLICIES: tuple[dict[str, Any], ...] = (
    {"deadline": 1.0},
    {"loop": True},
    {"confident": True},
    {"min_tokens": 1},
    {"answer_reserve": 8},
)
IDLE_METRICS = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the server's processes hold. rss: bytes of resident memory."""

    processes: int
    threads: int
    files: int
    rss: int


class Soak:
    """The requests, and what became of them."""

    def __init__(self, http: httpx.AsyncClient, model: str, seed: int) -> None:
        self.http = http
        self.model = model
        self.random = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.seconds = [0.5]

    async def run(self, requests: int, concurrency: int) -> None:
        """Send so many requests, `concurrency` at any time."""
        left = iter(range(requests))

        async def worker() -> None:
            for _ in left:
                await self._one()

        await asyncio.gather(*(worker() for _ in range(concurrency)))

    async def _one(self) -> None:
        path, body = self._request()
        request = asyncio.create_task(self._ask(path, body))
        if self.random.random() >= LEAVING:
            await request
            return
        # Any moment of a request like those that ended lately.
        moment = self.random.uniform(0, self.random.choice(self.seconds))
        await asyncio.wait([request], timeout=moment)
        if not request.done():
            self.outcomes["left"] += 1
            request.cancel()
        await asyncio.wait([request])
        if not request.cancelled():
            request.result()

    async def _ask(self, path: str, body: dict[str, Any]) -> None:
        begun = time.monotonic()
        async with self.http.stream("POST", path, json=body) as response:
            text = (await response.aread()).decode()
        if response.status_code != httpx.codes.OK or '"error":{' in text:
            self.problems[f"{path}: {response.status_code} {text[:200]}"] += 1
            return
        if '"stop_cause":' not in text:
            self.problems[f"{path}: no report"] += 1
        self.outcomes["answered"] += 1
        self.seconds = [*self.seconds[-200:], time.monotonic() - begun]

    def _request(self) -> tuple[str, dict[str, Any]]:
        """A random route, with what it is asked."""
        draw = self.random
        text = f"Modulo 10, compute (({draw.randint(0, 9)}*{draw.randint(0, 9)})+{draw.randint(0, 9)})."
        limit = draw.choice([8, 40, 120, 300])
        body: dict[str, Any] = {"model": self.model, "stream": draw.random() < 0.5}
        messages = [{"role": "user", "content": text}]
        thinking: dict[str, Any] = {"soft": draw.choice([0, 8])}
        if (budget := draw.choice(BUDGETS)) is not None:
            thinking["budget"] = budget
        if budget != 0 and draw.random() < 0.2:
            thinking |= draw.choice(POLICIES)
        path = draw.choice(["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"])
        if path == "/v1/responses":
            body |= {"input": text, "max_output_tokens": limit, "store": False}
        elif path == "/v1/messages":
            body |= {"messages": messages, "max_tokens": limit}
        else:
            body |= {"max_tokens": limit, "n": draw.choice([1, 1, 2, 3]), "temperature": 1.0}
            body |= {"messages": messages} if "chat" in path else {"prompt": text}
        return path, {**body, "thinking": thinking}


def footprint(session: int) -> Footprint:
    """Of the living processes of a session, from /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            owner, state = _session(folder)
            if owner == session and state != "Z":
                status = dict(
                    line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
                )
                files = len(list((folder / "fd").iterdir()))
                found.append((int(status["Threads"]), files, int(status["VmRSS"].split()[0]) * 1024))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    threads, files_open, rss = (sum(column) for column in zip(*found, strict=True))
    return Footprint(len(found), threads, files_open, rss)


def _session(folder: Path) -> tuple[int, str]:
    state, _, _, owner = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:4]
    return int(owner), state


async def _idle(http: httpx.AsyncClient) -> dict[str, float]:
    """The metrics that must fall to 0 once nothing is asked, when they have or the time for it is over."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        families = text_string_to_metric_families((await http.get("/metrics")).text)
        samples = [sample for family in families for sample in family.samples if sample.name in IDLE_METRICS]
        values = {sample.name: sample.value for sample in samples}
        if not any(values.values()) or time.monotonic() > deadline:
            return values
        await asyncio.sleep(0.2)


async def soak(base_url: str, model: str, session: int, requests: int, concurrency: int, seed: int) -> Any:
    """Run it against a server that is the leader of the process session. Returns the summary."""
    begun = time.monotonic()
    footprints: list[Footprint] = []
    idle: dict[str, float] = {}
    warm_up = int(requests * WARM_UP)
    work: Soak | None = None
    for count in (warm_up, requests - warm_up):
        # Connections of a phase end with it: those of clients that stay are no leak either.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=concurrency)
        async with httpx.AsyncClient(base_url=base_url, timeout=120, limits=limits) as http:
            if work is None:
                work = Soak(http, model, seed)
            work.http = http
            await work.run(count, concurrency)
        async with httpx.AsyncClient(base_url=base_url, timeout=30) as http:
            idle = await _idle(http)
        await asyncio.sleep(1)
        footprints.append(footprint(session))
    assert work is not None
    before, after = footprints
    growth = after.rss / before.rss - 1
    failures = [name for name, value in idle.items() if value]
    failures += [
        name for name in ("processes", "threads", "files") if getattr(after, name) > getattr(before, name)
    ]
    failures += ["rss"] * (growth >= MAX_GROWTH) + ["answers"] * bool(work.problems)
    return {
        "requests": requests,
        "concurrency": concurrency,
        "seconds": round(time.monotonic() - begun, 1),
        **work.outcomes,
        "problems": dict(work.problems),
        "idle": idle,
        "after_warm_up": asdict(before),
        "at_the_end": asdict(after),
        "rss_growth": round(growth, 4),
        "failures": failures,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 if nothing is left, 1 if something is."""
    parser = argparse.ArgumentParser(prog="python -m serve.bench.soak", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default=str(DEFAULT_MODEL), help="folder or hub name (default: ours)")
    parser.add_argument("--requests", type=int, default=5000, help="default: %(default)s")
    parser.add_argument("--concurrency", type=int, default=32, help="default: %(default)s")
    parser.add_argument(
        "--seed", type=int, default=0, help="what is asked depends on it (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="folder for soak.json")
    args = parser.parse_args(argv)
    flags = ["--num-gpu-blocks-override", str(CACHE_BLOCKS), "--disable-uvicorn-access-log"]
    with start_server(args.model, args=flags) as server:
        summary = asyncio.run(
            soak(
                server.base_url,
                server.model,
                server.process.pid,
                args.requests,
                args.concurrency,
                args.seed,
            )
        )
    print(json.dumps(summary, indent=2))
    if args.out is not None:
        figures = [
            Figure("failures after the soak", str(len(summary["failures"]))),
            Figure("growth of memory after the warm-up", f"{100 * summary['rss_growth']:.1f} %"),
        ]
        write_result(args.out, "soak", summary, figures=figures)
    return 1 if summary["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
