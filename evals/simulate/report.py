"""A plan in words: a table for the terminal, and the same as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from evals.report.tables import Table, plain
from evals.simulate.plan import GIB, Row
from evals.simulate.steps import MeasuredSteps
from evals.stats.latency import quantile


def table(rows: Sequence[Row], target: float | None) -> str:
    """One line for each budget."""
    goal = "the rate" if target is None else f"the rate with 95 of 100 replies complete in {target:g} s"
    return plain(
        Table(
            "Plan",
            f"Replicas: the fewest that carry {goal}. Times and KV cache are of one replica under its share.",
            [
                "budget",
                "replicas",
                "replies/s at most",
                "tokens/s",
                "first token p95 s",
                "p50 s",
                "p95 s",
                "KV peak GiB",
                "of cache %",
                "running",
                "thinking",
                "cut %",
                "right %",
            ],
            [_line(row) for row in rows],
        )
    )


def _line(row: Row) -> list[str]:
    return [
        "max" if row.budget is None else str(row.budget),
        "none does" if row.replicas is None else f"{row.replicas:,}",
        f"{row.capacity:.2f}",
        f"{row.tokens_per_second:,.0f}",
        f"{row.first_token_p95:.2f}",
        f"{row.latency_p50:.2f}",
        f"{row.latency_p95:.2f}",
        f"{row.kv_peak_bytes / GIB:.2f}",
        f"{100 * row.kv_peak_share:.0f}",
        f"{row.mean_running:.1f}",
        f"{row.thinking_tokens:.0f}",
        f"{100 * row.cut:.0f}",
        "-" if row.accuracy is None else f"{100 * row.accuracy:.1f}",
    ]


def document(rows: Sequence[Row], about: dict[str, Any]) -> dict[str, Any]:
    """The plan as JSON, with all that it follows from."""
    return {**about, "rows": [row.as_dict() for row in rows]}


def prices(measured: MeasuredSteps) -> str:
    """The fitted prices, and how far the fit is from what was measured."""
    fit = measured.fit()
    errors = [abs(fit.of(row) / row.seconds - 1) for row in measured.rows]
    names = {
        "step": "a step",
        "token": "a token",
        "context": "1,000 cached tokens",
        "prefill": "a prompt token",
        "started": "a request",
        "resumed": "a cut",
    }
    lines = [
        f"{names[name]:>20}: {1000 * value * (1000 if name == 'context' else 1):.4f} ms"
        for name, value in asdict(fit).items()
    ]
    told = f"fit to {len(errors)} bursts: half within {100 * quantile(errors, 0.5):.0f} %, "
    return "\n".join([*lines, f"{told}nine of ten within {100 * quantile(errors, 0.9):.0f} %"])
