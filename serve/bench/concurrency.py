"""Many clients at the same moment: every stream must be whole and token by token what it is alone.

    python -m serve.bench.concurrency --clients 1000 --out runs/bench

Each client opens a connection of its own and asks for one streamed, greedy reply, all at once, under budgets
of all sizes. `--distinct` different requests are first asked one at a time; the streams of the crowd must
have their tokens, their text and their stop cause. A cut reply must hold its budget of thinking tokens, to
the token, and the early-stop text whole. Writes concurrency.json; exit code 1 if anything is wrong.
"""

import argparse
import asyncio
import json
import math
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx

from serve import DEFAULT_MODEL
from serve.bench.load import Exchange, chat_request, connect, events
from serve.bench.soak import Footprint, footprint
from serve.bench.throughput import machine
from serve.launch import RunningServer, start_server
from serve.open_files import allow_open_files

BUDGETS: tuple[int | None, ...] = (None, 0, 1, 4, 16, 64)
MAX_TOKENS = 200
SAMPLE_SECONDS = 0.5
DONE = b"data: [DONE]"


@dataclass(frozen=True, slots=True)
class Stream:
    """A reply put together from its stream. thinking: the server's report."""

    token_ids: tuple[int, ...]
    reasoning: str
    content: str
    finish_reason: str | None
    thinking: dict[str, Any]
    completion_tokens: int

    def what(self) -> tuple[Any, ...]:
        """All that must not depend on who else is served."""
        told = (self.thinking.get("stop_cause"), self.thinking.get("tokens"))
        return (self.token_ids, self.reasoning, self.content, self.finish_reason, *told)


def read_stream(exchange: Exchange) -> Stream:
    """The reply. Raises ValueError for a stream that has an error or lacks its end."""
    ids: list[int] = []
    texts = {"reasoning_content": "", "content": ""}
    finish_reason, thinking, completion_tokens = None, {}, 0
    for _, payload in events(exchange.pieces):
        if "error" in payload:
            raise ValueError(f"error event: {payload['error']}")
        for choice in payload["choices"]:
            ids += choice.get("token_ids") or ()
            for name in texts:
                texts[name] += choice["delta"].get(name) or ""
            if choice["finish_reason"] is not None:
                finish_reason, thinking = choice["finish_reason"], choice["thinking"]
        if payload.get("usage"):
            completion_tokens = payload["usage"]["completion_tokens"]
    if finish_reason is None or DONE not in b"".join(data for _, data in exchange.pieces[-3:]):
        raise ValueError("the stream ended before the reply did")
    return Stream(
        tuple(ids), texts["reasoning_content"], texts["content"], finish_reason, thinking, completion_tokens
    )


def fault(stream: Stream, budget: int | None, form: dict[str, Any]) -> str | None:
    """What is wrong with a reply by itself: its budget, the early-stop text, its count of tokens."""
    report = stream.thinking
    if stream.completion_tokens != len(stream.token_ids):
        return f"usage says {stream.completion_tokens} tokens, the stream has {len(stream.token_ids)}"
    if budget is not None and report["tokens"] > budget:
        return f"{report['tokens']} thinking tokens under a budget of {budget}"
    if report["stop_cause"] != "budget":
        return None
    start = 1 if form["opened_by"] == "model" else 0
    end = start + report["tokens"]
    stop_ids = tuple(form["stop_ids"])
    if report["tokens"] != budget or stream.token_ids[end : end + len(stop_ids)] != stop_ids:
        return f"cut after {report['tokens']} tokens, budget {budget}, or without the whole early-stop text"
    return None


def requests(model: str, distinct: int, seed: int) -> list[tuple[int | None, dict[str, Any]]]:
    """Different requests, each with its budget."""
    draw = random.Random(seed)
    made = []
    for index in range(distinct):
        a, b, c, d = (draw.randint(0, 9) for _ in range(4))
        text = f"Modulo 10, compute (({a}*{b})+({c}-{d}))*{draw.randint(2, 9)}."
        budget = BUDGETS[index % len(BUDGETS)]
        body = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
            "return_token_ids": True,
        }
        made.append((budget, body if budget is None else {**body, "thinking_budget": budget}))
    return made


@dataclass(frozen=True, slots=True)
class Client:
    """One client's part. began: before it connected. error: why there is no exchange."""

    began: float
    exchange: Exchange | None
    error: str | None = None


async def ask(base_url: str, request: bytes, timeout: float) -> Client:
    """Connect, ask, read to the end."""
    began = perf_counter()
    try:
        async with asyncio.timeout(timeout):
            connection = await connect(base_url)
            try:
                return Client(began, await connection.exchange(request))
            finally:
                connection.close()
    except (OSError, RuntimeError) as error:
        return Client(began, None, f"{type(error).__name__}: {str(error)[:200]}")


class Peaks(threading.Thread):
    """Looks at the server's processes every half second; `most` has the largest of each number seen."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._ended = threading.Event()
        self.before = self.most = footprint(session)

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            seen = asdict(footprint(self._session))
            self.most = Footprint(
                **{name: max(value, seen[name]) for name, value in asdict(self.most).items()}
            )

    def end(self) -> None:
        self._ended.set()
        self.join()


def measure(server: RunningServer, clients: int, distinct: int, seed: int, timeout: float) -> dict[str, Any]:
    """Ask alone, then all at once. Returns the summary; `errors` counts what was wrong, by kind."""
    import uvloop

    allow_open_files()
    form = httpx.get(f"{server.base_url}/v1/thinking/format").raise_for_status().json()
    made = requests(server.model, distinct, seed)
    raw = [chat_request(server.base_url, body) for _, body in made]

    async def one_by_one() -> list[Client]:
        return [await ask(server.base_url, request, timeout) for request in raw]

    async def at_once() -> list[Client]:
        return await asyncio.gather(
            *(ask(server.base_url, raw[index % distinct], timeout) for index in range(clients))
        )

    alone = [_read(client) for client in uvloop.run(one_by_one())]
    peaks = Peaks(server.process.pid)
    peaks.start()
    began = perf_counter()
    crowd = uvloop.run(at_once())
    seconds = perf_counter() - began
    peaks.end()

    errors: Counter[str] = Counter()
    tokens = 0
    first, last = [], []
    for index, client in enumerate(crowd):
        reference, (budget, _) = alone[index % distinct], made[index % distinct]
        stream = _read(client)
        if isinstance(stream, str) or isinstance(reference, str):
            errors[stream if isinstance(stream, str) else f"alone: {reference}"] += 1
            continue
        if (wrong := fault(stream, budget, form)) is not None:
            errors[wrong] += 1
        if stream.what() != reference.what():
            errors["not the reply that it is alone"] += 1
        assert client.exchange is not None
        tokens += stream.completion_tokens
        first.append(events(client.exchange.pieces)[0][0] - client.began)
        last.append(client.exchange.pieces[-1][0] - client.began)
    return {
        "clients": clients,
        "distinct": distinct,
        "errors": dict(errors),
        "complete": len(last),
        "seconds": round(seconds, 2),
        "tokens_per_second": round(tokens / seconds, 1),
        "first_token_seconds": _quantiles(first),
        "last_token_seconds": _quantiles(last),
        "processes_before": asdict(peaks.before),
        "processes_peak": asdict(peaks.most),
        "machine": machine(),
    }


def _read(client: Client) -> Stream | str:
    """The reply, or why there is none."""
    if client.exchange is None:
        return str(client.error)
    try:
        return read_stream(client.exchange)
    except (ValueError, RuntimeError) as error:
        return str(error)


def _quantiles(values: Sequence[float]) -> dict[str, float | None]:
    ordered = sorted(values)
    if not ordered:
        return {"p50": None, "p95": None, "max": None}
    at = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    return {name: round(ordered[math.ceil(q * len(ordered)) - 1], 3) for name, q in at.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 if every stream was as it must be, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m serve.bench.concurrency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Flags after -- go to the server: -- --max-num-seqs 512",
    )
    parser.add_argument("--model", default=str(DEFAULT_MODEL), help="folder or hub name (default: ours)")
    parser.add_argument("--clients", type=int, default=1000, help="at the same moment (%(default)s)")
    parser.add_argument("--distinct", type=int, default=60, help="different requests (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of what is asked (%(default)s)")
    parser.add_argument("--timeout", type=float, default=500, help="seconds for a client (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder (%(default)s)")
    arguments = list(sys.argv[1:] if argv is None else argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:end])
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / "concurrency-server.log"
    flags = ["--disable-uvicorn-access-log", *arguments[end + 1 :]]
    with start_server(options.model, args=flags, log_path=log) as server:
        summary = measure(server, options.clients, options.distinct, options.seed, options.timeout)
    text = json.dumps(summary | {"cores_allowed": len(os.sched_getaffinity(0))}, indent=1)
    (options.out / "concurrency.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 1 if summary["errors"] or summary["complete"] < options.clients else 0


if __name__ == "__main__":
    sys.exit(main())
