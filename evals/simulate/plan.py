"""A plan: for each budget what a replica can do, and how many replicas keep a load within a target."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evals.simulate.engine import Engine
from evals.simulate.hardware import Gpu
from evals.simulate.requests import Format, Limits, Outcome, Request
from evals.simulate.shape import ModelShape
from evals.simulate.steps import StepTimes
from evals.simulate.workload import Lengths, poisson
from evals.stats.latency import quantile
from serve.profile import BudgetCurve

SETTLED = 0.25
"""Share of the requests at either end that is left out of a capacity: the server fills and empties there."""
MOST_REPLICAS = 4096
"""If these do not keep a target, one request alone does not: no number of replicas will."""
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked. rate: requests a second, a Poisson process. count: requests that are simulated.
    target: of the 95th percentile of the seconds to the last token; None for no target."""

    lengths: Sequence[Lengths]
    rate: float
    count: int = 2000
    target: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rate", "count", "target"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}: {value} is wrong because it must be above 0; give such a number")


@dataclass(frozen=True, slots=True)
class Machine:
    """One replica. kv_bytes: of one block of its KV cache."""

    limits: Limits
    steps: StepTimes
    form: Format
    kv_bytes: float


@dataclass(frozen=True, slots=True)
class Row:
    """One budget. replicas: the fewest that carry the rate within the target, None if none do.

    capacity: replies a second of one replica that always has as many requests as it takes. The rest is of one
    of the replicas under its share of the load: replies and tokens (that the model made) a second, seconds to
    the first and last token, tokens of the KV cache and bytes at the fullest, requests that decode at a time,
    restarts for want of cache, thinking tokens of a reply on average, share of replies that are cut.
    accuracy: to expect, where a profile tells.
    """

    budget: int | None
    replicas: int | None
    capacity: float
    rate: float
    replies_per_second: float
    tokens_per_second: float
    first_token_p50: float
    first_token_p95: float
    latency_p50: float
    latency_p95: float
    kv_peak_tokens: int
    kv_peak_bytes: float
    kv_peak_share: float
    mean_running: float
    restarts: int
    thinking_tokens: float
    cut: float
    accuracy: float | None

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "budget": "max" if self.budget is None else self.budget}


def cache_bytes(shape: ModelShape, gpu: Gpu, gpus: int, memory_share: float, reserve: float) -> float:
    """What the GPUs of a replica have left for the KV cache.

    memory_share: of each GPU's memory that the server takes. reserve: bytes of each for activations, graphs
    and the like. Raises ValueError where nothing is left.
    """
    left = gpus * (gpu.memory * memory_share - reserve) - shape.total_bytes
    if left <= 0:
        raise ValueError(
            f"gpu: {gpus} x {gpu.name} is wrong because {shape.total_bytes / GIB:.1f} GiB of weights leave "
            "no memory for the KV cache; give a larger one, more (--gpus), or a smaller --dtype"
        )
    return left


def plan(
    budgets: Sequence[int | None],
    load: Load,
    machine: Machine,
    curve: BudgetCurve | None = None,
    replicas: int | None = None,
) -> list[Row]:
    """A row for each budget. replicas: so many instead of the fewest. Raises ValueError as `Engine.run`."""
    return [_row(budget, load, machine, curve, replicas) for budget in budgets]


def capacity(budget: int | None, load: Load, machine: Machine) -> float:
    """Replies a second of a replica that always has as many requests as it may run at once."""
    at_once = machine.limits.max_num_seqs
    # So many that the batch is full in the middle half.
    count = max(load.count, 4 * at_once)
    requests = poisson(load.lengths, load.rate, count, budget, load.seed)
    outcome = _engine(machine).run(requests, in_flight=at_once)
    ended = sorted(request.ended for request in outcome.requests)
    first, last = (ended[int(share * (len(ended) - 1))] for share in (SETTLED, 1 - SETTLED))
    if last <= first:  # all ended in one step
        return len(ended) / outcome.seconds
    return (1 - 2 * SETTLED) * (len(ended) - 1) / (last - first)


def under(rate: float, budget: int | None, load: Load, machine: Machine) -> Outcome:
    """One replica under a rate."""
    return _engine(machine).run(poisson(load.lengths, rate, load.count, budget, load.seed))


def fewest(fits: Callable[[int], bool], least: int) -> int:
    """The smallest number from `least` on that fits, if `MOST_REPLICAS` does and all above one that fits."""
    low, high = least, least
    while high < MOST_REPLICAS and not fits(high):
        low, high = high + 1, min(2 * high, MOST_REPLICAS)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low


def _row(
    budget: int | None, load: Load, machine: Machine, curve: BudgetCurve | None, replicas: int | None
) -> Row:
    most = capacity(budget, load, machine)
    outcomes: dict[int, Outcome] = {}

    def share(count: int) -> Outcome:
        if count not in outcomes:
            outcomes[count] = under(load.rate / count, budget, load, machine)
        return outcomes[count]

    def fits(count: int) -> bool:
        # A simulated stretch is short: queues that grow without end are told by the capacity, not by it.
        if load.rate / count >= most:
            return False
        return load.target is None or latency(share(count).requests, 0.95) <= load.target

    least = max(1, math.ceil(load.rate / most))
    found = replicas
    if replicas is None and fits(MOST_REPLICAS):
        found = fewest(fits, least)
    shown = found or least
    outcome = share(shown)
    requests = outcome.requests
    size = machine.limits.block_size
    return Row(
        budget=budget,
        replicas=found,
        capacity=most,
        rate=load.rate / shown,
        replies_per_second=len(requests) / outcome.seconds,
        tokens_per_second=outcome.made / outcome.seconds,
        first_token_p50=quantile([it.first_token - it.arrived for it in requests], 0.5),
        first_token_p95=quantile([it.first_token - it.arrived for it in requests], 0.95),
        latency_p50=latency(requests, 0.5),
        latency_p95=latency(requests, 0.95),
        kv_peak_tokens=outcome.peak_blocks * size,
        kv_peak_bytes=outcome.peak_blocks * machine.kv_bytes,
        kv_peak_share=outcome.peak_blocks / machine.limits.kv_blocks,
        mean_running=outcome.mean_running,
        restarts=outcome.restarts,
        thinking_tokens=sum(it.tokens for it in requests) / len(requests),
        cut=sum(it.cut for it in requests) / len(requests),
        accuracy=None if curve is None else curve.accuracy_at(budget),
    )


def latency(requests: Sequence[Request], q: float) -> float:
    """A quantile of the seconds from arrival to the last token."""
    return quantile([request.seconds for request in requests], q)


def _engine(machine: Machine) -> Engine:
    return Engine(machine.limits, machine.steps, machine.form)
