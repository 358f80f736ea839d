"""Prometheus metrics of thinking, of load and of refused requests, beside vLLM's on /metrics.

They are in `prometheus_client`'s default registry, as vLLM's are: with PROMETHEUS_MULTIPROC_DIR set the
client library keeps them in that directory, and vLLM's /metrics adds up what it holds.
"""

import math
from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from serve.trace import StopCause, ThinkingTracker

REJECTIONS = ("unauthorized", "concurrency", "too_large", "draining", "invalid")
"""Why a request was refused: HTTP 401, 429, 413, 503 and 400."""

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.999)
"""Bounds of the utilisation histogram; what is above the last has used its whole budget."""

WAITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ThinkingMetrics:
    """Counters and histograms; one instance a process, as their names are unique in the registry."""

    def __init__(self) -> None:
        self.tokens = Counter(
            "thinkdial_thinking_tokens", "Thinking tokens of finished choices.", ["stop_cause"]
        )
        self.choices = Counter(
            "thinkdial_choices", "Finished choices, by what ended their thinking.", ["stop_cause"]
        )
        self.utilisation = Histogram(
            "thinkdial_budget_utilisation",
            "Thinking tokens as a share of the budget in force, of choices with a budget above 0.",
            buckets=SHARES,
        )
        self.answer_wait = Histogram(
            "thinkdial_answer_wait_seconds",
            "From the cut to the first token of the answer.",
            buckets=WAITS,
        )
        self.deadline_misses = Counter(
            "thinkdial_deadline_misses", "Choices that ended after their request's deadline."
        )
        self.shed = Counter("thinkdial_shed_requests", "Requests whose budget the server's load lowered.")
        self.allowance = Gauge(
            "thinkdial_load_allowance",
            "Work that a reply may take, as a share of what it would take with no budget lowered by load.",
        )
        self.ceiling = Gauge(
            "thinkdial_budget_ceiling",
            "Least ceiling that load sets for requests that name no family, in thinking tokens.",
        )
        self.load_changed(1.0, None)
        self.rejected = Counter("thinkdial_rejected_requests", "Refused HTTP requests.", ["reason"])
        # From the start at 0, or a rate misses the first of each.
        for cause in get_args(StopCause):
            self.tokens.labels(cause)
            self.choices.labels(cause)
        for reason in REJECTIONS:
            self.rejected.labels(reason)

    def choice_finished(self, tracker: ThinkingTracker) -> None:
        report = tracker.report()
        self.tokens.labels(report.stop_cause).inc(report.tokens)
        self.choices.labels(report.stop_cause).inc()
        if report.budget:
            self.utilisation.observe(report.tokens / report.budget)
        if tracker.answer_wait is not None:
            self.answer_wait.observe(tracker.answer_wait)
        if report.deadline_missed:
            self.deadline_misses.inc()

    def load_changed(self, allowance: float, ceiling: int | None) -> None:
        """What load leaves to replies; no ceiling is shown as +Inf."""
        self.allowance.set(allowance)
        self.ceiling.set(math.inf if ceiling is None else ceiling)

    def request_shed(self) -> None:
        self.shed.inc()

    def request_rejected(self, reason: str) -> None:
        self.rejected.labels(reason).inc()
