"""What one round of load says of a server, and paired rounds of two servers: pure functions."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from serve.bench.load import Reply
from serve.bench.results import Ratio

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Measures:
    """One round of one server.

    tokens_per_second: tokens that the model chose (thinking and answer, not inserted ones), over the round's
    wall time. ttft_ms: median time to the first token. step_ms: median time between tokens of one reply.
    cpu_ms_per_token: processor time of all the server's processes for each such token.
    cut_ms: median time from the last thinking token to the first answer token, None without budgets.
    """

    tokens_per_second: float
    ttft_ms: float
    step_ms: float
    cpu_ms_per_token: float
    cut_ms: float | None

    @property
    def cut_steps(self) -> float | None:
        """`cut_ms` in decode steps of the same round."""
        return None if self.cut_ms is None else self.cut_ms / self.step_ms


def measure(replies: Sequence[Reply], cpu_seconds: float, stop_ids: Sequence[int] | None) -> Measures:
    """Measures of a round whose replies all have the length that was asked.

    cpu_seconds: processor time that the server took for them. stop_ids: of the early-stop text in every
    reply; None if none was cut.
    """
    inserted = len(replies) * len(stop_ids or ())
    tokens = sum(reply.completion_tokens for reply in replies) - inserted
    seconds = max(reply.ended for reply in replies) - min(reply.sent for reply in replies)
    waits = [reply.wait_for_answer(stop_ids) for reply in replies] if stop_ids else []
    return Measures(
        tokens_per_second=tokens / seconds,
        ttft_ms=1000 * median(reply.first_token_seconds for reply in replies),
        step_ms=1000 * median(gap for reply in replies for gap in reply.gaps if gap > 0),
        cpu_ms_per_token=1000 * cpu_seconds / tokens,
        cut_ms=1000 * median(waits) if waits else None,
    )


@dataclass(frozen=True, slots=True)
class Interval:
    """A median and where it lies with at least `confidence`; fewer than six values cannot give 95 %."""

    median: float
    low: float
    high: float
    confidence: float


def median_interval(values: Sequence[float]) -> Interval:
    """The median with the distribution-free interval between two order statistics.

    The k-th smallest and k-th largest of n values hold the median between them with probability
    1 - 2 P(Binomial(n, 1/2) < k) (David and Nagaraja 2003, "Order statistics", section 7.1). k is the largest
    that keeps 95 %; with few values it is 1, the range, and `confidence` says what that is worth.
    """
    ordered = sorted(values)
    n = len(ordered)

    def coverage(k: int) -> float:
        return 1 - 2 * sum(math.comb(n, i) for i in range(k)) / 2**n

    k = max((k for k in range(1, n // 2 + 1) if coverage(k) >= CONFIDENCE), default=1)
    return Interval(median(ordered), ordered[k - 1], ordered[n - k], coverage(k))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two servers under the same load, in rounds that alternate."""

    baseline: str
    candidate: str
    concurrency: int
    rounds: tuple[tuple[Measures, Measures], ...]

    def paired(self, value: Callable[[Measures, Measures], float]) -> Interval:
        return median_interval([value(first, second) for first, second in self.rounds])

    @property
    def speed(self) -> Interval:
        """Candidate's tokens per second over the baseline's."""
        return self.paired(lambda first, second: second.tokens_per_second / first.tokens_per_second)

    @property
    def added_ttft_ms(self) -> Interval:
        return self.paired(lambda first, second: second.ttft_ms - first.ttft_ms)

    @property
    def cpu(self) -> Interval:
        """Candidate's processor time a token over the baseline's."""
        return self.paired(lambda first, second: second.cpu_ms_per_token / first.cpu_ms_per_token)

    def middle(self, name: str, which: int) -> float | None:
        """Median over the rounds of a measure of the baseline (0) or the candidate (1)."""
        values = [getattr(pair[which], name) for pair in self.rounds]
        return None if None in values else median(values)

    def as_dict(self) -> dict[str, Any]:
        names = (*Measures.__slots__, "cut_steps")
        return {
            "baseline": {"name": self.baseline} | {name: self.middle(name, 0) for name in names},
            "candidate": {"name": self.candidate} | {name: self.middle(name, 1) for name in names},
            "concurrency": self.concurrency,
            "tokens_per_second_ratio": asdict(self.speed),
            "added_ttft_ms": asdict(self.added_ttft_ms),
            "cpu_ratio": asdict(self.cpu),
            "rounds": [[asdict(measures) for measures in pair] for pair in self.rounds],
        }

    def ratios(self) -> list[Ratio]:
        """Speed and processor time, for the page of all benchmarks."""
        return [
            _ratio(f"tokens/s, {self.concurrency} at once", self, self.speed, "higher"),
            _ratio(f"CPU time a token, {self.concurrency} at once", self, self.cpu, "lower"),
        ]


def _ratio(what: str, comparison: Comparison, found: Interval, better: Literal["higher", "lower"]) -> Ratio:
    interval = f"{found.confidence:.0%} of {len(comparison.rounds)} rounds"
    return Ratio(
        what,
        comparison.candidate,
        comparison.baseline,
        found.median,
        found.low,
        found.high,
        interval,
        better,
    )


COLUMNS = (
    "at once",
    "server",
    "tokens/s",
    "ratio",
    "first token ms",
    "added ms",
    "step ms",
    "cut to answer ms",
    "in steps",
    "CPU ms/token",
    "ratio",
)


def table(comparisons: Sequence[Comparison]) -> str:
    """A Markdown table: two rows for each comparison, ratios with their intervals on the second."""
    head = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    return "\n".join([*head, *(_row(c, which) for c in comparisons for which in (0, 1))])


def _row(comparison: Comparison, which: int) -> str:
    def value(name: str, digits: int) -> str:
        number = comparison.middle(name, which)
        return "" if number is None else f"{number:.{digits}f}"

    cells = [
        str(comparison.concurrency),
        (comparison.baseline, comparison.candidate)[which],
        value("tokens_per_second", 0),
        _shown(comparison.speed, 3) if which else "",
        value("ttft_ms", 2),
        _shown(comparison.added_ttft_ms, 2) if which else "",
        value("step_ms", 2),
        value("cut_ms", 2),
        value("cut_steps", 1),
        value("cpu_ms_per_token", 3),
        _shown(comparison.cpu, 3) if which else "",
    ]
    return f"| {' | '.join(cells)} |"


def _shown(interval: Interval, digits: int) -> str:
    return f"{interval.median:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"
