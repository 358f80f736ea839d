"""Step times of a running server: bursts of requests, and what its own metrics say that it did for them.

Each burst sends some requests at once and waits for all, so that the server is never idle meanwhile. The
number of engine steps, of tokens and of computed prompt tokens are the differences of vLLM's counters; what
is timed is what a client sees, front end and client included where they share the server's cores.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from evals.simulate.requests import Format
from evals.simulate.steps import Measured, MeasuredSteps
from serve.bench.load import Reply, run_load
from serve.bench.throughput import BARRED, chat_body, machine
from serve.open_files import allow_open_files

STEPS = "vllm:iteration_tokens_total_count"
MADE = "vllm:generation_tokens_total"
PROMPT = "vllm:prompt_tokens_total"
CACHED = "vllm:prefix_cache_hits_total"
CUTS = "thinkdial_choices_total"
COUNTERS = (STEPS, MADE, PROMPT, CACHED, CUTS)
CACHE = "vllm:cache_config_info"
SETTLED_SECONDS = 0.1
SHORT = 8
"""Equations of a short prompt."""
Clock = Callable[[], float]
"""Seconds from a moment that does not matter."""


@dataclass(frozen=True, slots=True)
class Burst:
    """Requests sent at once. equations: of the prompt, some seven tokens each. tokens: that each makes, after
    the cut where there is a budget."""

    requests: int
    equations: int
    tokens: int
    budget: int | None = None


def bursts(sizes: Sequence[int], long: int) -> list[Burst]:
    """What tells the prices apart. sizes: batches. long: equations of a long prompt."""
    made = []
    for size in sizes:
        made += [
            Burst(size, SHORT, 64),
            Burst(size, long, 64),
            Burst(size, long, 1),
            Burst(size, SHORT, 4),
            Burst(size, SHORT, 16, budget=8),
            Burst(size, SHORT, 160),
        ]
    return made


def measure_steps(
    base_url: str,
    sizes: Sequence[int] = (1, 4, 16, 64),
    long: int = 80,
    rounds: int = 2,
    seed: int = 0,
    clock: Clock = time.perf_counter,
) -> MeasuredSteps:
    """Measure a running `thinkdial serve` that nobody else uses. Raises RuntimeError as `run_load`."""
    allow_open_files()
    model = _get(base_url, "/v1/models")["data"][0]["id"]
    measure_bursts(base_url, [Burst(max(sizes), SHORT, 16, budget=8)], seed)  # warms up
    draw = random.Random(seed)
    todo = []
    for _ in range(rounds):
        # In another order each time: a machine's speed drifts, and should not look like a price.
        todo += draw.sample(again := bursts(sizes, long), len(again))
    rows = measure_bursts(base_url, todo, seed, clock)
    cache = cache_config(base_url)
    limits = {"block_size": int(cache["block_size"]), "kv_blocks": int(cache["num_gpu_blocks"])}
    about = {"model": model, "machine": machine(), "sizes": [*sizes], "long": long, "rounds": rounds}
    return MeasuredSteps(tuple(rows), limits, about)


def measure_bursts(
    base_url: str, todo: Sequence[Burst], seed: int, clock: Clock = time.perf_counter
) -> list[Measured]:
    """What the server did for each, and how long it took."""
    model = _get(base_url, "/v1/models")["data"][0]["id"]
    form = thinking_format(base_url)
    draw = random.Random(seed)
    return [_burst(base_url, model, form, burst, draw, clock) for burst in todo]


def thinking_format(base_url: str) -> dict[str, Any]:
    """Tags and early-stop text of the server's model, with their ids."""
    form: dict[str, Any] = _get(base_url, "/v1/thinking/format")
    return form


def server_format(base_url: str) -> Format:
    """Tokens of the tags and the early-stop text, as the server tells them."""
    form = thinking_format(base_url)
    return Format(open_tokens=int(form["opened_by"] == "model"), stop_tokens=len(form["stop_ids"]))


def cache_config(base_url: str) -> dict[str, str]:
    """vLLM's own account of its KV cache."""
    text = httpx.get(f"{base_url}/metrics").raise_for_status().text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == CACHE:
                return dict(sample.labels)
    raise RuntimeError(f"{base_url}: /metrics has no {CACHE}; give a server of `thinkdial serve`")


def counters(base_url: str) -> dict[str, float]:
    """`COUNTERS`, summed over the engines of the server; of choices, those that were cut at their budget."""
    found = dict.fromkeys(COUNTERS, 0.0)
    text = httpx.get(f"{base_url}/metrics").raise_for_status().text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in found and sample.labels.get("stop_cause", "budget") == "budget":
                found[sample.name] += sample.value
    return found


def _settled(base_url: str) -> dict[str, float]:
    """The counters once they stand still: the last step's numbers are told after its tokens."""
    last: dict[str, float] = {}
    while last != (last := counters(base_url)):
        time.sleep(SETTLED_SECONDS)
    return last


def _burst(
    base_url: str, model: str, form: dict[str, Any], burst: Burst, draw: random.Random, clock: Clock
) -> Measured:
    bodies = [_body(model, form, burst, draw) for _ in range(burst.requests)]
    before = counters(base_url)
    began = clock()
    replies = run_load(base_url, bodies, burst.requests)
    seconds = clock() - began
    done = {name: value - before[name] for name, value in _settled(base_url).items()}
    if burst.budget is not None and not done[CUTS]:
        raise RuntimeError(
            f"budget: {burst.budget} cut no reply: {model} does not think about a small sum; step times of "
            "such a model cannot be measured so"
        )
    stop = len(form["stop_ids"]) * done[CUTS] / burst.requests
    return Measured(
        seconds=seconds,
        steps=done[STEPS],
        tokens=done[MADE],
        context=float(sum(_context(reply, stop) for reply in replies)),
        prefill=done[PROMPT] - done[CACHED],
        started=float(burst.requests),
        resumed=done[CUTS],
    )


def _context(reply: Reply, inserted: float) -> float:
    """Cached tokens that a reply's decode steps look at: its prompt and half of itself, each step."""
    steps = reply.completion_tokens - inserted
    return steps * (reply.prompt_tokens + reply.completion_tokens / 2)


def _body(model: str, form: dict[str, Any], burst: Burst, draw: random.Random) -> dict[str, Any]:
    tokens = burst.tokens
    body = chat_body(draw, model, tokens, burst.equations)
    if burst.budget is not None:
        tokens += (form["opened_by"] == "model") + burst.budget + len(form["stop_ids"])
        body |= {"thinking_budget": burst.budget, "logit_bias": {str(form["close_id"]): BARRED}}
    return {**body, "min_tokens": tokens, "max_tokens": tokens}


def _get(base_url: str, path: str) -> Any:
    return httpx.get(f"{base_url}{path}", timeout=30).raise_for_status().json()
