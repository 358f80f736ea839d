"""From the rows of a load test to its numbers: latency, accuracy, goodput and what was lowered, by load."""

from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from evals.grading import grade
from evals.load.store import Row, read_rows
from evals.stats import clustered_proportion, paired_difference
from evals.stats.latency import quantile, quantile_interval

Summary = dict[str, Any]


def summarise_load(directory: Path) -> Summary:
    """The summary of a load test, recomputed from its rows; JSON values.

    {settings, capacity, one, target, levels, comparisons}: `one` is the rate of 1x. A level has, for one arm
    and load, `latency` {p50, p95, p95_low, p95_high, within} in seconds (to the last token, from when the
    request was due; a request without a reply is later than all), `accuracy` {mean, low, high}, problems as
    clusters, a failed request counted as wrong; `goodput`: right replies within the target a second;
    `lowered`: share of requests whose budget load lowered. Comparisons are of the two arms at one load:
    accuracy gained by shedding, paired by problem, and the ratio of the 95th percentiles to the target.
    Raises ValueError where there is no load test, or no target yet.
    """
    rows = read_rows(directory)
    first = {row["kind"]: row for row in reversed(rows)}
    settings, capacity, target = (first.get(kind) for kind in ("settings", "capacity", "target"))
    if settings is None or capacity is None or target is None:
        raise ValueError(f"{directory}: the load test has no load with shedding yet; run it again to go on")
    replies: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in rows:
        if row["kind"] == "reply":
            replies[row["arm"], row["load"]].append(row)
    right = _grades([row for group in replies.values() for row in group])
    levels = [
        _level(row, replies[row["arm"], row["load"]], right, target["seconds"])
        for row in rows
        if row["kind"] == "level"
    ]
    return {
        "settings": settings,
        "capacity": capacity,
        "one": settings["utilisation"] * capacity["requests_per_second"],
        "target": target,
        "levels": levels,
        "comparisons": _comparisons(levels, replies, right),
    }


def _grades(rows: list[Row]) -> dict[tuple[str, str], bool]:
    """Whether an answer to a problem is right."""
    pairs = {(row["problem"], row["answer"]): row["gold"] for row in rows if row["error"] is None}
    return {(problem, answer): grade(gold, answer).correct for (problem, answer), gold in pairs.items()}


def _is_right(row: Row, right: dict[tuple[str, str], bool]) -> bool:
    return row["error"] is None and right[row["problem"], row["answer"]]


def _level(row: Row, replies: list[Row], right: dict[tuple[str, str], bool], target: float) -> Row:
    times = [_seconds(reply) for reply in replies]
    low, high = quantile_interval(times, 0.95)
    grades = [_is_right(reply, right) for reply in replies]
    good = sum(ok and seconds <= target for ok, seconds in zip(grades, times, strict=True))
    reports = [reply["report"] for reply in replies if reply["report"]]
    lowered = [report for report in reports if report.get("lowered_by") == "load"]
    estimate = clustered_proportion(_by_problem(replies, right))
    assert estimate is not None
    return {
        "arm": row["arm"],
        "load": row["load"],
        "rate": row["rate"],
        "requests": len(replies),
        "failed": sum(reply["error"] is not None for reply in replies),
        "latency": {
            "p50": _finite(quantile(times, 0.5)),
            "p95": _finite(quantile(times, 0.95)),
            "p95_low": _finite(low),
            "p95_high": _finite(high),
            "within": sum(seconds <= target for seconds in times) / len(times),
        },
        "accuracy": {"mean": estimate.mean, "low": estimate.low, "high": estimate.high},
        "goodput": good / row["seconds"],
        "lowered": len(lowered) / len(replies),
        "off": sum(report["budget"] == 0 for report in lowered) / len(replies),
        "mean_thinking_tokens": fmean(report["tokens"] for report in reports) if reports else None,
        # A generator that is late itself would measure its own queue.
        "sent_late": quantile([reply["sent"] - reply["due"] for reply in replies if reply["sent"]], 0.95),
    }


def _seconds(reply: Row) -> float:
    return float("inf") if reply["error"] is not None else reply["ended"] - reply["due"]


def _finite(seconds: float) -> float | None:
    """JSON knows no infinity: None for requests that were never answered."""
    return None if seconds == float("inf") else seconds


def _by_problem(replies: list[Row], right: dict[tuple[str, str], bool]) -> dict[str, list[float]]:
    grades: dict[str, list[float]] = defaultdict(list)
    for reply in replies:
        grades[reply["problem"]].append(float(_is_right(reply, right)))
    return grades


def _comparisons(
    levels: list[Row], replies: dict[tuple[str, float], list[Row]], right: dict[tuple[str, str], bool]
) -> list[Row]:
    by_arm = {(level["arm"], level["load"]): level for level in levels}
    found = []
    for level in levels:
        load = level["load"]
        if level["arm"] != "plain" or ("shedding", load) not in by_arm:
            continue
        plain, shedding = (_by_problem(replies[arm, load], right) for arm in ("plain", "shedding"))
        difference = paired_difference(plain, shedding)
        assert difference is not None
        found.append({"load": load, "gain": difference.mean, "low": difference.low, "high": difference.high})
    return found
